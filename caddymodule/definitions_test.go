package caddymodule

import (
	"bytes"
	"context"
	"crypto/rand"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/event"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/flowtoken"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/keyspace"
)

const publishedSite = `
	whatsapp_flow /flows/endpoint* {
		endpoint engine
	}`

func TestPublishedFlowsAreServedWithinASecond(t *testing.T) {
	s := newSite(t).load("", publishedSite)
	status := func(path string) int {
		a, _ := s.post(path, request{"action": "ping"})
		return a.status
	}
	eventually(t, 2*time.Second, "the index is read", func() bool { return status(booking) == http.StatusNotFound })

	first := s.publish("default", "booking", bookingJSON(t))
	eventually(t, time.Second, "the flow is served", func() bool { return status(booking) == http.StatusOK })
	s.want(booking, step("INIT", "", "old", nil), "NAME")

	// A new version: a session that has begun ends on the old one.
	renamed := bytes.ReplaceAll(bookingJSON(t), []byte(`"NAME"`), []byte(`"WELCOME"`))
	second := s.publish("default", "booking", renamed)
	eventually(t, time.Second, "the new version is served", func() bool {
		_, reply := s.post(booking, step("INIT", "", "unused", nil))
		return reply["screen"] == "WELCOME"
	})
	s.want(booking, step("INIT", "", "new", nil), "WELCOME")
	// Another process would not have the old one yet.
	loaded.Delete(first.Hash())
	s.want(booking, step("data_exchange", "NAME", "old", request{"name": "x"}), "ROOM")
	hashes := map[string]bool{}
	for _, e := range s.events() {
		st, _ := event.DecodeStep(e.Body)
		hashes[st.Token+" "+st.Definition] = true
	}
	if !hashes["old "+first.Hash()] || hashes["old "+second.Hash()] || !hashes["new "+second.Hash()] {
		t.Errorf("the steps ran on %v", hashes)
	}

	ctx := context.Background()
	t.Run("a session waits for its definition rather than run on another", func(t *testing.T) {
		s.t = t
		key := s.keys.Definition(first.Hash())
		s.want(booking, step("BACK", "ROOM", "old", nil), "NAME")
		if err := errorsOf(s.redis.Del(ctx, key).Err(), s.redis.LPush(ctx, key, "redis answers with an error").Err()); err != nil {
			t.Fatal(err)
		}
		loaded.Delete(first.Hash())
		r := step("data_exchange", "NAME", "old", request{"name": "y"})
		if a, _ := s.post(booking, r); a.status != http.StatusServiceUnavailable {
			t.Errorf("status %d", a.status)
		}
		if err := s.redis.Del(ctx, key).Err(); err != nil {
			t.Fatal(err)
		}
		s.publish("default", "booking", bookingJSON(t))
		s.publish("default", "booking", renamed)
		s.want(booking, r, "ROOM")
	})
	t.Run("a lost index unloads nothing", func(t *testing.T) {
		s.t = t
		if err := s.redis.Del(ctx, s.keys.Index(), s.keys.Definition(first.Hash()), s.keys.Definition(second.Hash())).Err(); err != nil {
			t.Fatal(err)
		}
		b := liveBackends()[0]
		if err := b.catalog.refresh(ctx, s.redis, s.keys); err != nil {
			t.Fatal(err)
		}
		s.load("", publishedSite) // nor does a reload
		s.want(booking, step("INIT", "", "after", nil), "WELCOME")
	})
	t.Run("a broken definition leaves the one before in use", func(t *testing.T) {
		s.t = t
		field := keyspace.IndexField("default", "booking")
		if err := s.redis.HSet(ctx, s.keys.Index(), field, "no such hash").Err(); err != nil {
			t.Fatal(err)
		}
		if err := liveBackends()[0].catalog.refresh(ctx, s.redis, s.keys); err != nil {
			t.Fatal(err)
		}
		s.want(booking, step("INIT", "", "broken", nil), "WELCOME")
	})
	t.Run("a flow that is named but cannot be read is not unknown", func(t *testing.T) {
		s.t = t
		ctx := context.Background()
		field := keyspace.IndexField("default", "new")
		if err := s.redis.HSet(ctx, s.keys.Index(), field, "no such hash either").Err(); err != nil {
			t.Fatal(err)
		}
		if err := liveBackends()[0].catalog.refresh(ctx, s.redis, s.keys); err != nil {
			t.Fatal(err)
		}
		if got := status("/flows/endpoint/new"); got != http.StatusOK {
			t.Errorf("ping: status %d", got)
		}
		if a, _ := s.post("/flows/endpoint/new", step("INIT", "", "t", nil)); a.status != http.StatusServiceUnavailable {
			t.Errorf("INIT: status %d", a.status)
		}
		if got := status("/flows/endpoint/typo"); got != http.StatusNotFound {
			t.Errorf("ping of a flow the index does not name: status %d", got)
		}
		s.publish("default", "new", bookingJSON(t))
		eventually(t, time.Second, "the flow is served", func() bool {
			a, _ := s.post("/flows/endpoint/new", step("INIT", "", "t", nil))
			return a.status == http.StatusOK
		})
	})
	t.Run("a tombstone unloads", func(t *testing.T) {
		s.t = t
		field := keyspace.IndexField("default", "booking")
		if err := errorsOf(s.redis.HSet(ctx, s.keys.Index(), field, keyspace.Tombstone).Err(),
			s.redis.Publish(ctx, s.keys.Changed(), field).Err()); err != nil {
			t.Fatal(err)
		}
		eventually(t, time.Second, "the flow is gone", func() bool { return status(booking) == http.StatusNotFound })
		if a, _ := s.post(booking, step("INIT", "", "t", nil)); a.status != http.StatusNotFound {
			t.Errorf("INIT: status %d", a.status)
		}
	})
	s.t = t
}

// The phone has the Flow JSON that was published when the message was sent.
func TestATokenOpensTheDefinitionItWasMadeFor(t *testing.T) {
	t.Setenv("FLOW_TOKEN_SECRET", testSecret)
	s := newSite(t)
	older := s.publishLogic("default", "booking", bookingJSON(t), []byte(`{"screens":{"ROOM":{"data":{"name":"'older'"}}}}`))
	s.load("", publishedSite)
	s.want(booking, step("INIT", "", "before", nil), "NAME")
	made := func(claims flowtoken.Claims) string {
		claims.Expires = time.Now().Add(time.Hour)
		token, err := flowtoken.Mint([]byte(testSecret), claims, rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		return token
	}

	// Only the logic is another: the phone's screens are the same, and what was
	// mended shall count.
	mended := s.publishLogic("default", "booking", bookingJSON(t), []byte(`{"screens":{"ROOM":{"data":{"name":"'mended'"}}}}`))
	eventually(t, time.Second, "the new logic is served", func() bool {
		d, _ := published{liveBackends()[0]}.current("default", "booking")
		return d.Hash() == mended.Hash()
	})
	token := made(flowtoken.Claims{Flow: "booking", Version: older.Hash()})
	s.want(booking, step("INIT", "", token, nil), "NAME")
	if data := s.want(booking, step("data_exchange", "NAME", token, request{"name": "x"}), "ROOM"); data["name"] != "mended" {
		t.Errorf("screen ROOM shows %v", data)
	}

	newest := s.publish("default", "booking", bytes.ReplaceAll(bookingJSON(t), []byte(`"NAME"`), []byte(`"WELCOME"`)))
	eventually(t, time.Second, "the new screens are served", func() bool {
		d, _ := published{liveBackends()[0]}.current("default", "booking")
		return d.Hash() == newest.Hash()
	})
	loaded.Delete(older.Hash()) // another process has not read it
	for name, c := range map[string]struct{ version, opens string }{
		"a message with the older screens":            {older.Hash(), "NAME"},
		"a message with the newest":                   {newest.Hash(), "WELCOME"},
		"a message that names no version":             {"", "WELCOME"},
		"a message whose definition nobody has":       {strings.Repeat("0", 64), "WELCOME"},
		"a version that is no hash of any definition": {"v1", "WELCOME"},
	} {
		t.Run(name, func(t *testing.T) {
			s.t = t
			token := made(flowtoken.Claims{Flow: "booking", Version: c.version})
			s.want(booking, step("INIT", "", token, nil), c.opens)
			s.want(booking, step("data_exchange", c.opens, token, request{"name": "x"}), "ROOM")
			s.want(booking, step("INIT", "", token, nil), c.opens) // opened once more
			// Sent with flow_action navigate there is no INIT.
			s.want(booking, step("data_exchange", c.opens, made(flowtoken.Claims{Version: c.version}), request{"name": "x"}), "ROOM")
		})
	}
}

func TestFlowsBelongToTheirAccount(t *testing.T) {
	s := newSite(t)
	s.publish("one", "booking", bookingJSON(t))
	s.load(`
	whatsapp_flows {
		account one {
		}
		account two {
		}
	}`, `
	whatsapp_flow /a/* {
		endpoint engine
	}`)
	s.want("/a/one/flows/endpoint/booking", step("INIT", "", "t", nil), "NAME")
	if a, _ := s.post("/a/two/flows/endpoint/booking", step("INIT", "", "t", nil)); a.status != http.StatusNotFound {
		t.Errorf("status %d", a.status)
	}
}
