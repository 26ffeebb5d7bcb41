package testkit

import (
	"net"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
)

// Proxy stands before a server so that a test can take it away. Cut, every
// connection breaks and new ones are refused, as when the server is killed. As a
// black hole it says nothing and lets nothing through, as when a cable is pulled.
// It can lose the replies to chosen requests.
type Proxy struct {
	Address string

	t        testing.TB
	upstream string
	mu       sync.Mutex
	listener net.Listener
	conns    map[net.Conn]bool
	pairs    map[*pair]bool
	hole     bool
	running  sync.WaitGroup

	request string // in lower case: what the replies to are lost
	toLose  int

	dropped string // the same of requests that are lost themselves
	toDrop  int
}

// pair is a connection and the one behind it.
type pair struct {
	swallowed atomic.Bool // nothing passes any more
	breaking  atomic.Bool // ends with the next reply, which does not pass
}

// NewProxy reserves an address before upstream (host:port) that refuses
// connections until Open is called.
func NewProxy(t testing.TB, upstream string) *Proxy {
	t.Helper()
	p := &Proxy{t: t, upstream: upstream, conns: make(map[net.Conn]bool), pairs: make(map[*pair]bool)}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p.Address = listener.Addr().String()
	listener.Close() //nolint:errcheck // nobody is to answer
	t.Cleanup(p.Cut)
	return p
}

// Open lets connections through.
func (p *Proxy) Open() {
	p.t.Helper()
	listener, err := net.Listen("tcp", p.Address)
	if err != nil {
		p.t.Fatal(err)
	}
	p.mu.Lock()
	p.listener = listener
	p.mu.Unlock()
	p.running.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			p.running.Go(func() { p.forward(conn) })
		}
	})
}

// Cut breaks every connection and refuses new ones. It may be called twice.
func (p *Proxy) Cut() {
	p.mu.Lock()
	if p.listener != nil {
		p.listener.Close() //nolint:errcheck // nothing to do about it
		p.listener = nil
	}
	for conn := range p.conns {
		conn.Close() //nolint:errcheck // broken on purpose
	}
	p.mu.Unlock()
	p.running.Wait()
}

// keep remembers a connection, unless the proxy is cut already.
func (p *Proxy) keep(conn net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.listener == nil {
		return false
	}
	p.conns[conn] = true
	return true
}

func (p *Proxy) drop(conn net.Conn) {
	conn.Close() //nolint:errcheck // both ways have ended
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.conns, conn)
}

// BlackHole swallows everything from now on, of new connections too, and breaks
// none: neither side learns that the other is gone. Off again, new connections
// get through; those that were swallowed never do.
func (p *Proxy) BlackHole(on bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.hole = on
	for pair := range p.pairs {
		pair.swallowed.Store(pair.swallowed.Load() || on)
	}
}

// LoseReplies lets the next requests that hold part, such as COMMIT, get through
// and breaks their connections instead of passing the reply on.
func (p *Proxy) LoseReplies(part string, times int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.request, p.toLose = strings.ToLower(part), times
}

// RepliesToLose is how many replies are still to be lost.
func (p *Proxy) RepliesToLose() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.toLose
}

// LoseRequests breaks the connections of the next requests that hold part, such
// as XCLAIM, before they get through.
func (p *Proxy) LoseRequests(part string, times int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.dropped, p.toDrop = strings.ToLower(part), times
}

// watch sees what a client sends, and says whether it gets through.
func (p *Proxy) watch(from *pair, sent []byte) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.toDrop > 0 && strings.Contains(strings.ToLower(string(sent)), p.dropped) {
		p.toDrop--
		return false
	}
	if p.toLose > 0 && strings.Contains(strings.ToLower(string(sent)), p.request) && !from.breaking.Swap(true) {
		p.toLose--
	}
	return true
}

func (p *Proxy) pair() (made *pair, remove func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	made = &pair{}
	made.swallowed.Store(p.hole)
	p.pairs[made] = true
	return made, func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		delete(p.pairs, made)
	}
}

func (p *Proxy) forward(conn net.Conn) {
	defer p.drop(conn)
	upstream, err := net.Dial("tcp", p.upstream)
	if err != nil {
		return
	}
	defer p.drop(upstream)
	if !p.keep(conn) || !p.keep(upstream) {
		return
	}
	pair, remove := p.pair()
	defer remove()
	var back sync.WaitGroup
	back.Go(func() {
		pair.pass(conn, upstream, func([]byte) bool { return !pair.breaking.Load() })
		if !pair.swallowed.Load() {
			conn.Close() //nolint:errcheck // ends the other way
		}
	})
	pair.pass(upstream, conn, func(sent []byte) bool { return p.watch(pair, sent) })
	upstream.Close() //nolint:errcheck // ends the other way
	back.Wait()
}

// pass copies until from ends or see says no.
func (p *pair) pass(to, from net.Conn, see func([]byte) bool) {
	buffer := make([]byte, 32<<10)
	for {
		n, err := from.Read(buffer)
		if n > 0 && !p.swallowed.Load() {
			if !see(buffer[:n]) {
				return
			}
			if _, err := to.Write(buffer[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

// DatabaseProxy is an open proxy before the server of a database, and the URL of
// the database through it.
func DatabaseProxy(t testing.TB, databaseURL string) (throughProxy string, p *Proxy) {
	t.Helper()
	u, err := url.Parse(databaseURL)
	if err != nil || u.Host == "" {
		t.Fatal("DATABASE_URL is not a URL with a host")
	}
	p = NewProxy(t, u.Host)
	p.Open()
	u.Host = p.Address
	return u.String(), p
}
