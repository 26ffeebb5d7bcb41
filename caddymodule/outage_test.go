package caddymodule

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
)

// cable is a TCP proxy before Redis that a test can cut.
type cable struct {
	listener net.Listener
	target   string
	mu       sync.Mutex
	cut      bool
	conns    map[net.Conn]bool
}

func newCable(t *testing.T) *cable {
	t.Helper()
	target, err := url.Parse(redisURL(t))
	if err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c := &cable{listener: listener, target: target.Host, conns: make(map[net.Conn]bool)}
	var done sync.WaitGroup
	done.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			done.Go(func() { c.carry(conn) })
		}
	})
	t.Cleanup(func() {
		_ = listener.Close()
		c.set(true)
		done.Wait()
	})
	return c
}

func (c *cable) carry(conn net.Conn) {
	upstream, err := net.Dial("tcp", c.target)
	if err != nil {
		_ = conn.Close()
		return
	}
	c.mu.Lock()
	if c.cut {
		c.mu.Unlock()
		_ = conn.Close()
		_ = upstream.Close()
		return
	}
	c.conns[conn], c.conns[upstream] = true, true
	c.mu.Unlock()
	var both sync.WaitGroup
	for _, way := range [][2]net.Conn{{conn, upstream}, {upstream, conn}} {
		both.Go(func() {
			_, _ = io.Copy(way[0], way[1])
			_ = way[0].Close()
			_ = way[1].Close()
		})
	}
	both.Wait()
	c.mu.Lock()
	delete(c.conns, conn)
	delete(c.conns, upstream)
	c.mu.Unlock()
}

// set cuts the cable, or mends it.
func (c *cable) set(cut bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.cut = cut
	if cut {
		for conn := range c.conns {
			_ = conn.Close()
		}
	}
}

func (c *cable) url() string { return "redis://" + c.listener.Addr().String() }

func webhook(s *site, body string) answer {
	s.t.Helper()
	return s.do(http.MethodPost, "/webhooks/whatsapp", signed([]byte(body)), []byte(body))
}

func TestRedisStopsAndComesBack(t *testing.T) {
	c := newCable(t)
	s := newSite(t)
	t.Setenv("REDIS_URL", c.url())
	s.load("", engineSite)
	opening := seal(t, s.public, step("INIT", "", "tok", nil))
	opened := s.do(http.MethodPost, booking, signed(opening.body), opening.body)
	if screen := opening.open(t, opened)["screen"]; screen != "NAME" {
		t.Fatalf("INIT: screen %v", screen)
	}
	if a := webhook(s, `{"n":1}`); a.status != http.StatusOK {
		t.Fatalf("webhook: status %d", a.status)
	}

	c.set(true)
	if a, _ := s.post(booking, request{"action": "ping"}); a.status != http.StatusOK {
		t.Errorf("ping: status %d", a.status)
	}
	if a := webhook(s, `{"n":2}`); a.status != http.StatusServiceUnavailable || len(a.body) != 0 {
		t.Errorf("webhook: status %d, %d bytes", a.status, len(a.body))
	}
	if again := s.do(http.MethodPost, booking, signed(opening.body), opening.body); !bytes.Equal(opened.body, again.body) {
		t.Error("an envelope that redis has answered got other bytes while redis was down")
	}
	r := step("data_exchange", "NAME", "tok", request{"name": privateAnswer})
	e := seal(t, s.public, r)
	first := s.do(http.MethodPost, booking, signed(e.body), e.body)
	if reply := e.open(t, first); reply["screen"] != "NAME" || reply["data"].(map[string]any)["error_message"] != defaultFallback {
		t.Errorf("fallback %v", reply)
	}
	if again := s.do(http.MethodPost, booking, signed(e.body), e.body); !bytes.Equal(first.body, again.body) {
		t.Error("the same envelope got other bytes while redis was down")
	}
	if a, reply := s.post(booking, step("INIT", "", "tok-2", nil)); a.status != 200 || reply["screen"] != "NAME" {
		t.Errorf("INIT: status %d, %v", a.status, reply)
	}

	c.set(false)
	eventually(t, 5*time.Second, "a webhook is stored", func() bool { return webhook(s, `{"n":2}`).status == http.StatusOK })
	if again := s.do(http.MethodPost, booking, signed(e.body), e.body); !bytes.Equal(first.body, again.body) {
		t.Error("the same envelope got other bytes after redis came back")
	}
	s.want(booking, r, "ROOM")
}

func TestAnEdgeStartsWithoutRedis(t *testing.T) {
	c := newCable(t)
	c.set(true)
	s := newSite(t)
	t.Setenv("REDIS_URL", c.url())
	s.load("", `
	whatsapp_webhook /webhooks/whatsapp
	whatsapp_flow /flows/endpoint* {
		endpoint engine
	}`)
	if a, _ := s.post(booking, request{"action": "ping"}); a.status != http.StatusOK {
		t.Errorf("ping of a flow that is not known yet: status %d", a.status)
	}
	if a, _ := s.post(booking, step("INIT", "", "tok", nil)); a.status != http.StatusServiceUnavailable {
		t.Errorf("INIT: status %d", a.status)
	}
	c.set(false)
	s.publish("default", "booking", bookingJSON(t))
	eventually(t, 5*time.Second, "the flow is served", func() bool {
		a, _ := s.post(booking, step("INIT", "", "tok", nil))
		return a.status == http.StatusOK
	})
	eventually(t, 5*time.Second, "the ping of an unknown flow fails", func() bool {
		a, _ := s.post("/flows/endpoint/typo", request{"action": "ping"})
		return a.status == http.StatusNotFound
	})
}

func TestAnotherNumberOfShardsIsRefused(t *testing.T) {
	s := newSite(t).load("", engineSite)
	_ = caddy.Stop()
	t.Setenv("REDIS_SHARDS", "8")
	err := caddy.Load(s.adapt("", engineSite), true)
	if err == nil {
		t.Fatal("started with another number of shards")
	}
	t.Setenv("REDIS_SHARDS", "4")
	s.load("", engineSite)

	t.Run("found later, it stops what would be lost", func(t *testing.T) {
		c := newCable(t)
		c.set(true)
		t.Setenv("REDIS_URL", c.url())
		t.Setenv("REDIS_SHARDS", "8")
		s.t = t
		s.load("", engineSite)
		c.set(false)
		eventually(t, 5*time.Second, "the mismatch is found", func() bool {
			for _, b := range liveBackends() {
				if b.mismatched.Load() != nil {
					return true
				}
			}
			return false
		})
		if a := webhook(s, `{}`); a.status != http.StatusServiceUnavailable {
			t.Errorf("webhook: status %d", a.status)
		}
		if a, _ := s.post(booking, step("INIT", "", "tok", nil)); a.status != http.StatusServiceUnavailable {
			t.Errorf("flow: status %d", a.status)
		}
	})
	s.t = t
}

func liveBackends() (all []*backend) {
	backends.Range(func(_, value any) bool { all = append(all, value.(*backend)); return true })
	return all
}

func TestARequestInFlightOutlivesItsConfiguration(t *testing.T) {
	c := newCable(t)
	arrived, release := make(chan struct{}), make(chan struct{})
	var once sync.Once
	engineWith(func(context.Context, *Turn) error {
		once.Do(func() { close(arrived); <-release })
		return nil
	})
	s := newSite(t)
	t.Setenv("REDIS_URL", c.url())
	s.loadTest(countedSite)
	e := seal(t, s.public, step("INIT", "", "tok", nil))
	answered := make(chan answer)
	go func() {
		a, _ := s.try(http.MethodPost, booking, signed(e.body), e.body)
		answered <- a
	}()
	<-arrived
	t.Setenv("REDIS_URL", redisURLOfTheTest)
	s.loadTest(countedSite) // other settings: the old client is no longer in use by any configuration
	close(release)
	if a := <-answered; a.status != http.StatusOK || e.open(t, a)["screen"] != "NAME" {
		t.Errorf("status %d", a.status)
	}
	if n := len(s.events()); n != 1 {
		t.Errorf("%d events", n)
	}
}

func TestAReloadUnderLoadLosesNoRequest(t *testing.T) {
	c := newCable(t)
	s := newSite(t).load("", engineSite)
	var stop atomic.Bool
	var sent, failed atomic.Int64
	var load sync.WaitGroup
	for worker := range 6 {
		load.Go(func() {
			for n := 0; !stop.Load(); n++ {
				var e sealed
				want := http.StatusOK
				path := booking
				if worker%2 == 0 {
					e = seal(t, s.public, step("INIT", "", fmt.Sprintf("tok-%d-%d", worker, n), nil))
				} else {
					e.body, path = fmt.Appendf(nil, `{"n":"%d-%d"}`, worker, n), "/webhooks/whatsapp"
				}
				sent.Add(1)
				a, err := s.try(http.MethodPost, path, signed(e.body), e.body)
				if err != nil || a.status != want {
					failed.Add(1)
					t.Logf("lost: status %d, %v", a.status, err)
				}
			}
		})
	}
	for reload := range 8 {
		// Every second one changes the settings of the client.
		if reload%2 == 0 {
			t.Setenv("REDIS_URL", c.url())
		} else {
			t.Setenv("REDIS_URL", redisURLOfTheTest)
		}
		before := sent.Load()
		s.load("", engineSite)
		eventually(t, 5*time.Second, "requests go on", func() bool { return sent.Load() > before+10 })
	}
	stop.Store(true)
	load.Wait()
	if failed.Load() > 0 {
		t.Errorf("%d of %d requests were lost", failed.Load(), sent.Load())
	}
	// No request was handled twice either, whose connection had to be made again.
	if n := int64(len(s.events())); n != sent.Load() {
		t.Errorf("%d events of %d requests", n, sent.Load())
	}
}
