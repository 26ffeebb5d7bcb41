package testkit

import (
	"io"
	"net"
	"sync"
	"testing"
)

// Proxy stands before a server so that a test can take it away: cut, every
// connection breaks and new ones are refused, as when the server is killed.
type Proxy struct {
	Address string

	t        testing.TB
	upstream string
	mu       sync.Mutex
	listener net.Listener
	conns    map[net.Conn]bool
	running  sync.WaitGroup
}

// NewProxy reserves an address before upstream (host:port) that refuses
// connections until Open is called.
func NewProxy(t testing.TB, upstream string) *Proxy {
	t.Helper()
	p := &Proxy{t: t, upstream: upstream, conns: make(map[net.Conn]bool)}
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
	var back sync.WaitGroup
	back.Go(func() {
		_, _ = io.Copy(conn, upstream)
		conn.Close() //nolint:errcheck // ends the other way
	})
	_, _ = io.Copy(upstream, conn)
	upstream.Close() //nolint:errcheck // ends the other way
	back.Wait()
}
