package proxy

import (
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// echo is a server that says everything back.
func echo(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var running sync.WaitGroup
	running.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			running.Go(func() {
				defer conn.Close()
				_, _ = io.Copy(conn, conn)
			})
		}
	})
	t.Cleanup(func() {
		listener.Close()
		running.Wait()
	})
	return listener.Addr().String()
}

func before(t *testing.T, upstream string) *Proxy {
	t.Helper()
	p, err := New(upstream)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	})
	return p
}

func dial(t *testing.T, p *Proxy) net.Conn {
	t.Helper()
	conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", p.Address())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

// ask says something and returns what comes back within patience.
func ask(t *testing.T, conn net.Conn, say string, patience time.Duration) (string, error) {
	t.Helper()
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Write([]byte(say)); err != nil {
		return "", err
	}
	buffer := make([]byte, 64)
	n, err := conn.Read(buffer)
	return string(buffer[:n]), err
}

// done is what Postgres says when a COMMIT is.
const done = "C\x00\x00\x00\x0bCOMMIT\x00"

func TestProxy(t *testing.T) {
	const patience = 5 * time.Second
	t.Run("passes bytes both ways", func(t *testing.T) {
		conn := dial(t, before(t, echo(t)))
		if got, err := ask(t, conn, "hello", patience); err != nil || got != "hello" {
			t.Errorf("got %q, %v", got, err)
		}
	})
	t.Run("cut, connections end and new ones too, until it is mended", func(t *testing.T) {
		p := before(t, echo(t))
		conn := dial(t, p)
		if _, err := ask(t, conn, "hello", patience); err != nil {
			t.Fatal(err)
		}
		p.Cut()
		if got, err := ask(t, conn, "there?", patience); err == nil {
			t.Errorf("an old connection got %q", got)
		}
		if conn, err := net.Dial("tcp", p.Address()); err == nil {
			defer conn.Close()
			if got, err := ask(t, conn, "there?", patience); err == nil {
				t.Errorf("a new connection got %q", got)
			}
		}
		p.Mend()
		if got, err := ask(t, dial(t, p), "again", patience); err != nil || got != "again" {
			t.Errorf("mended, got %q, %v", got, err)
		}
	})
	t.Run("silent, a connection stays and hears nothing; a new one is served", func(t *testing.T) {
		p := before(t, echo(t))
		conn := dial(t, p)
		if _, err := ask(t, conn, "hello", patience); err != nil {
			t.Fatal(err)
		}
		p.Silence()
		if got, err := ask(t, conn, "there?", 200*time.Millisecond); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("got %q, %v; want silence", got, err)
		}
		if got, err := ask(t, dial(t, p), "new", patience); err != nil || got != "new" {
			t.Errorf("a new connection got %q, %v", got, err)
		}
	})
	t.Run("delays each way", func(t *testing.T) {
		p := before(t, echo(t))
		conn := dial(t, p)
		p.Delay(50 * time.Millisecond)
		began := time.Now()
		if _, err := ask(t, conn, "hello", patience); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(began); took < 100*time.Millisecond {
			t.Errorf("took %s, want twice 50 ms at least", took)
		}
	})
	t.Run("resets a share of connections", func(t *testing.T) {
		p := before(t, echo(t))
		p.Reset(1)
		if got, err := ask(t, dial(t, p), "hello", patience); err == nil {
			t.Errorf("got %q from a connection that should be reset", got)
		}
	})
	t.Run("the answer to a COMMIT is taken away after the server had it", func(t *testing.T) {
		p := before(t, echo(t))
		conn := dial(t, p)
		p.CutCommits(1)
		if got, err := ask(t, conn, "select", patience); err != nil || got != "select" {
			t.Fatalf("before a commit: got %q, %v", got, err)
		}
		if got, err := ask(t, conn, done, patience); err == nil {
			t.Errorf("got %q to a commit", got)
		}
		if p.Commits() != 1 {
			t.Errorf("%d answers were taken away, want 1: the server never had the commit", p.Commits())
		}
	})
	t.Run("a server that is away ends the client's connection", func(t *testing.T) {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		address := listener.Addr().String()
		listener.Close()
		conn, err := net.Dial("tcp", before(t, address).Address())
		if err != nil {
			return // reset already
		}
		defer conn.Close()
		if got, err := ask(t, conn, "hello", patience); err == nil {
			t.Errorf("got %q from nobody", got)
		}
	})
	t.Run("the URL of a server becomes that of its proxy", func(t *testing.T) {
		p, through, err := Before("redis://user@" + echo(t) + "/3")
		if err != nil {
			t.Fatal(err)
		}
		defer p.Close()
		if want := "redis://user@" + p.Address() + "/3"; through != want {
			t.Errorf("got %s, want %s", through, want)
		}
	})
}
