package state

import (
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"testing"

	"github.com/redis/go-redis/v9"
)

// cable is a TCP proxy before Redis that breaks when so many bytes of answers
// have gone through it, and is whole again for the connections that follow.
type cable struct {
	listener net.Listener
	to       string
	done     sync.WaitGroup

	mu    sync.Mutex
	left  int // bytes of answers until it breaks; negative for never
	conns map[net.Conn]struct{}
}

// throughCable is a store whose connections go through a cable.
func throughCable(t *testing.T, o Options) (bench, *cable) {
	t.Helper()
	b := setup(t, o)
	direct, err := redis.ParseURL(os.Getenv("REDIS_URL"))
	if err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c := &cable{listener: listener, to: direct.Addr, left: -1, conns: make(map[net.Conn]struct{})}
	direct.Addr, direct.MaxRetries, direct.PipelinePoolSize = listener.Addr().String(), -1, -1
	direct.Protocol, direct.ContextTimeoutEnabled = 2, true
	client := redis.NewClient(direct)
	c.done.Go(c.accept)
	t.Cleanup(func() {
		client.Close()
		listener.Close()
		c.cut()
		c.done.Wait()
	})
	return bench{NewStore(client, b.keys, o), b.client}, c
}

// breakAfter has the cable break after n more bytes of answers.
func (c *cable) breakAfter(n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.left = n
}

// stall holds all answers back until resume is called.
func (c *cable) stall() (resume func()) {
	c.mu.Lock()
	return c.mu.Unlock
}

func (c *cable) accept() {
	for {
		near, err := c.listener.Accept()
		if err != nil {
			return
		}
		far, err := net.Dial("tcp", c.to)
		if err != nil {
			near.Close()
			continue
		}
		c.mu.Lock()
		c.conns[near], c.conns[far] = struct{}{}, struct{}{}
		c.mu.Unlock()
		c.done.Go(func() { _, _ = io.Copy(far, near); far.Close() })
		c.done.Go(func() { _, _ = io.Copy(counted{c, near}, far); near.Close() })
	}
}

// cut ends all connections. Those that follow are whole.
func (c *cable) cut() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.left = -1
	for conn := range c.conns {
		conn.Close()
	}
	clear(c.conns)
}

var errCut = errors.New("the cable is cut")

// counted is the way of the answers.
type counted struct {
	cable *cable
	near  net.Conn
}

func (w counted) Write(p []byte) (int, error) {
	w.cable.mu.Lock()
	let := len(p)
	breaks := w.cable.left >= 0 && w.cable.left < len(p)
	if breaks {
		let = w.cable.left
	} else if w.cable.left >= 0 {
		w.cable.left -= len(p)
	}
	w.cable.mu.Unlock()
	n, err := w.near.Write(p[:let])
	if breaks {
		w.cable.cut()
		return n, errCut
	}
	return n, err
}
