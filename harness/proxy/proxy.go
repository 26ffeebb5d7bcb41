// Package proxy is a TCP proxy on 127.0.0.1 that spoils the connections of a
// server on purpose: it cuts, delays, falls silent, resets a share of them, or
// takes away the answer to a COMMIT.
package proxy

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"net/url"
	"sync"
	"sync/atomic"
	"time"
)

// Proxy stands between clients and one server. What it does to connections is
// changed at any time and holds for the bytes that come after.
type Proxy struct {
	listener net.Listener
	upstream string

	refuse  atomic.Bool
	delay   atomic.Int64 // ns, each way
	resets  atomic.Int64 // of a million chunks of bytes
	commits atomic.Int64 // of a million COMMITs, whose answers are taken away
	cut     atomic.Int64 // COMMITs whose answers were
	broken  atomic.Int64 // connections that a chunk's reset ended

	mu      sync.Mutex
	links   map[*link]bool
	closed  bool
	running sync.WaitGroup
}

const million = 1_000_000

// link is one client's connection and its other half.
type link struct {
	client, server net.Conn
	silent         atomic.Bool // nothing passes any more, and nothing is closed
}

// New listens on a free port before upstream, host:port.
func New(upstream string) (*Proxy, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	p := &Proxy{listener: listener, upstream: upstream, links: make(map[*link]bool)}
	p.running.Go(p.accept)
	return p, nil
}

// Before stands before the server of a URL, and returns the URL that leads
// through the proxy.
func Before(serverURL string) (*Proxy, string, error) {
	u, err := url.Parse(serverURL)
	if err != nil || u.Host == "" {
		return nil, "", errors.New("a proxy needs a URL with one host and port")
	}
	p, err := New(u.Host)
	if err != nil {
		return nil, "", err
	}
	u.Host = p.Address()
	return p, u.String(), nil
}

// Address is where clients connect to, host:port.
func (p *Proxy) Address() string { return p.listener.Addr().String() }

// Delay holds every chunk of bytes back for d, each way.
func (p *Proxy) Delay(d time.Duration) { p.delay.Store(int64(d)) }

// Reset has this share of the chunks, 0 to 1, end in a reset of their
// connection.
func (p *Proxy) Reset(share float64) { p.resets.Store(int64(share * million)) }

// CutCommits takes the answer away from this share, 0 to 1, of the COMMITs of
// Postgres' protocol: the server has committed, the client sees its connection
// end. The connection must not be encrypted.
func (p *Proxy) CutCommits(share float64) { p.commits.Store(int64(share * million)) }

// Commits is how many COMMITs have lost their answer.
func (p *Proxy) Commits() int64 { return p.cut.Load() }

// Resets is how many connections Reset has ended.
func (p *Proxy) Resets() int64 { return p.broken.Load() }

// Silence makes every connection half-open: it stays, but nothing passes. New
// ones are served.
func (p *Proxy) Silence() {
	for _, l := range p.all() {
		l.silent.Store(true)
	}
}

// Cut resets every connection and refuses new ones until Mend.
func (p *Proxy) Cut() {
	p.refuse.Store(true)
	for _, l := range p.all() {
		l.end(true)
	}
}

// Mend lets bytes pass as if there were no proxy. Silent connections stay so.
func (p *Proxy) Mend() {
	p.refuse.Store(false)
	p.Delay(0)
	p.Reset(0)
	p.CutCommits(0)
}

// Close ends every connection and the proxy.
func (p *Proxy) Close() error {
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	err := p.listener.Close()
	for _, l := range p.all() {
		l.end(false)
	}
	p.running.Wait()
	return err
}

func (p *Proxy) all() []*link {
	p.mu.Lock()
	defer p.mu.Unlock()
	links := make([]*link, 0, len(p.links))
	for l := range p.links {
		links = append(links, l)
	}
	return links
}

func (p *Proxy) accept() {
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return
		}
		if p.refuse.Load() {
			reset(client)
			continue
		}
		p.running.Go(func() { p.serve(client) })
	}
}

func (p *Proxy) serve(client net.Conn) {
	server, err := net.DialTimeout("tcp", p.upstream, 5*time.Second)
	if err != nil {
		reset(client)
		return
	}
	l := &link{client: client, server: server}
	if !p.keep(l) {
		return
	}
	var back sync.WaitGroup
	back.Go(func() { p.copy(l, server, client, false) })
	p.copy(l, client, server, true)
	back.Wait()
	p.mu.Lock()
	delete(p.links, l)
	p.mu.Unlock()
}

// keep remembers a link, unless the proxy is closed or cut by now.
func (p *Proxy) keep(l *link) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed || p.refuse.Load() {
		l.end(true)
		return false
	}
	p.links[l] = true
	return true
}

// copy passes chunks on until either side ends. requests says that the client
// is the sender.
func (p *Proxy) copy(l *link, from, to net.Conn, requests bool) {
	buffer := make([]byte, 64<<10)
	for {
		n, err := from.Read(buffer)
		if l.silent.Load() {
			// Read on and say nothing: to the sender the other side is alive, as
			// behind a firewall that forgot the connection.
			if err != nil {
				l.end(false)
				return
			}
			continue
		}
		if n > 0 && !p.pass(l, to, buffer[:n], requests) {
			return
		}
		if err != nil {
			l.end(!errors.Is(err, io.EOF))
			return
		}
	}
}

// pass hands one chunk on, or ends the link.
func (p *Proxy) pass(l *link, to net.Conn, chunk []byte, requests bool) bool {
	if !requests && committed(chunk) && chance(p.commits.Load()) {
		p.cut.Add(1)
		l.end(true)
		return false
	}
	if delay := time.Duration(p.delay.Load()); delay > 0 {
		time.Sleep(delay)
	}
	if chance(p.resets.Load()) {
		p.broken.Add(1)
		l.end(true)
		return false
	}
	if _, err := to.Write(chunk); err != nil {
		l.end(true)
		return false
	}
	return true
}

func chance(ofMillion int64) bool { return ofMillion > 0 && rand.Int64N(million) < ofMillion }

// committed recognises the server's word that a COMMIT is done (message C), however
// it was asked for: by itself or at the end of a batch.
func committed(chunk []byte) bool {
	return bytes.Contains(chunk, []byte("C\x00\x00\x00\x0bCOMMIT\x00"))
}

// end closes both halves; hard as a crash would, with a reset.
func (l *link) end(hard bool) {
	for _, conn := range []net.Conn{l.client, l.server} {
		if hard {
			reset(conn)
		} else {
			conn.Close()
		}
	}
}

func reset(conn net.Conn) {
	if tcp, ok := conn.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	conn.Close()
}
