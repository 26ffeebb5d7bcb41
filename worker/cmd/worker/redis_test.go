package main

import (
	"io"
	"net"
	"sync"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/event"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/worker/internal/testkit"
)

func xadd(stream string, e event.Entry) *redis.XAddArgs {
	return &redis.XAddArgs{Stream: stream, Values: e.Values()}
}

// laterRedis is an address at which nobody answers until open is called, and
// the shared Redis from then on.
func laterRedis(t *testing.T) (address string, open func()) {
	t.Helper()
	o, err := redis.ParseURL(testkit.RedisURL(t))
	if err != nil {
		t.Fatal("REDIS_URL is not a Redis URL")
	}
	reserved, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address = reserved.Addr().String()
	reserved.Close() //nolint:errcheck // nobody is to answer
	return address, func() {
		listener, err := net.Listen("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		var all sync.WaitGroup
		all.Go(func() {
			for {
				conn, err := listener.Accept()
				if err != nil {
					return
				}
				all.Go(func() { forward(conn, o.Addr) })
			}
		})
		// The test stops the worker itself before this runs: it waits for the
		// worker's connections to end.
		t.Cleanup(func() { listener.Close(); all.Wait() }) //nolint:errcheck // the test is over
	}
}

func forward(conn net.Conn, to string) {
	defer conn.Close() //nolint:errcheck // both ways have ended
	upstream, err := net.Dial("tcp", to)
	if err != nil {
		return
	}
	defer upstream.Close() //nolint:errcheck // as above
	var back sync.WaitGroup
	back.Go(func() {
		_, _ = io.Copy(conn, upstream)
		_ = conn.Close()
	})
	_, _ = io.Copy(upstream, conn)
	_ = upstream.Close()
	back.Wait()
}
