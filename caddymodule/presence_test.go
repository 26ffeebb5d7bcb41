package caddymodule

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/caddymodule/internal/state"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/presence"
)

// listed are the edges that show themselves, by source.
func (s *site) listed() map[string]string {
	s.t.Helper()
	all, err := s.redis.HGetAll(context.Background(), s.keys.Edges()).Result()
	if err != nil {
		s.t.Fatal(err)
	}
	return all
}

// redisMillis is the time by Redis's clock, in milliseconds since 1970.
func (s *site) redisMillis() int64 {
	s.t.Helper()
	now, err := s.redis.Time(context.Background()).Result()
	if err != nil {
		s.t.Fatal(err)
	}
	return now.UnixMilli()
}

// another puts the field of another edge there, written this long ago.
func (s *site) another(source string, ago time.Duration) {
	s.t.Helper()
	value := fmt.Sprintf(`{"seen":%d,"private_key_backend":"crypto/rsa"}`, s.redisMillis()-ago.Milliseconds())
	if err := s.redis.HSet(context.Background(), s.keys.Edges(), source, value).Err(); err != nil {
		s.t.Fatal(err)
	}
}

func TestAnEdgeIsListedWhileItRuns(t *testing.T) {
	s := newSite(t)
	before := s.redisMillis()
	s.load("", engineSite)
	eventually(t, 5*time.Second, "the edge is listed", func() bool { return len(s.listed()) == 1 })
	first := s.listed()
	for _, value := range first {
		edge, err := presence.Decode(value)
		if err != nil {
			t.Fatal(err)
		}
		host, _ := os.Hostname()
		if edge.Host != host || edge.PID != os.Getpid() || edge.Version == "" || edge.PrivateKeyBackend != keyBackend() || !edge.Started.Equal(processStarted) {
			t.Errorf("listed as %s", value)
		}
		if now := s.redisMillis(); edge.Seen < before || edge.Seen > now {
			t.Errorf("seen at %d, expected a time between %d and %d by redis's clock", edge.Seen, before, now)
		}
	}
	if ttl := s.redis.PTTL(context.Background(), s.keys.Edges()).Val(); ttl <= 0 || ttl > presence.Gone {
		t.Errorf("the hash ends in %s, expected at most %s", ttl, presence.Gone)
	}

	// A reload is no new edge.
	s.load("", engineSite+"\n# changed")
	s.want(booking, step("INIT", "", "tok", nil), "NAME")
	if now := s.listed(); fmt.Sprint(now) != fmt.Sprint(first) {
		t.Errorf("listed after a reload: %v, before: %v", now, first)
	}

	if err := caddy.Stop(); err != nil {
		t.Fatal(err)
	}
	eventually(t, 5*time.Second, "an edge that was stopped is listed no more", func() bool { return len(s.listed()) == 0 })
}

func TestAnEdgeForgetsThoseThatAreGone(t *testing.T) {
	s := newSite(t)
	ctx := context.Background()
	s.another("seen 50 s ago", 50*time.Second)
	s.another("killed a minute ago", presence.Gone)
	s.another("seen in an hour, the clock was set back", -time.Hour)
	for source, value := range map[string]string{
		"unreadable": "nonsense", "empty": "", "without a time": `{"host":"x"}`, "a time that is no number": `{"seen":"now"}`,
	} {
		if err := s.redis.HSet(ctx, s.keys.Edges(), source, value).Err(); err != nil {
			t.Fatal(err)
		}
	}
	s.load("", engineSite)
	eventually(t, 5*time.Second, "only those that run are listed", func() bool {
		_, running := s.listed()["seen 50 s ago"]
		return running && len(s.listed()) == 2
	})
}

func TestEdgesThatStartAgainAndAgainAreBounded(t *testing.T) {
	s := newSite(t)
	for i := range presence.Limit + 20 {
		s.another(fmt.Sprintf("edge-%d", i), time.Duration(i)*100*time.Millisecond)
	}
	s.load("", engineSite)
	eventually(t, 5*time.Second, "the number of edges is bounded", func() bool { return len(s.listed()) == presence.Limit })
	all := s.listed()
	_, last := all[fmt.Sprintf("edge-%d", presence.Limit-2)]
	_, gone := all[fmt.Sprintf("edge-%d", presence.Limit-1)]
	if !last || gone {
		t.Error("those seen last should have been kept")
	}
}

func TestAnEdgeIsAnnouncedEveryTenSeconds(t *testing.T) {
	s := newSite(t)
	ctx := t.Context()
	b := &backend{client: s.redis, keys: s.keys, store: state.NewStore(s.redis, s.keys, state.Options{})}
	a := b.announcer()
	a.announce(ctx)
	if len(s.listed()) != 1 {
		t.Fatal("not listed at once")
	}
	forget(s.redis, s.prefix)
	a.announce(ctx)
	if len(s.listed()) != 0 {
		t.Error("announced again within 10 s")
	}
	a.last = time.Now().Add(-presence.Every)
	a.announce(ctx)
	if _, ok := s.listed()[b.store.Source()]; !ok {
		t.Error("a Redis that lost its data does not have the edge back")
	}
	a.withdraw(ctx)
	if len(s.listed()) != 0 {
		t.Error("still listed after its withdrawal")
	}
}

func TestAnEdgeThatCannotBeListedServes(t *testing.T) {
	s := newSite(t)
	if err := s.redis.Set(context.Background(), s.keys.Edges(), "not a hash", 0).Err(); err != nil {
		t.Fatal(err)
	}
	s.load("", engineSite)
	eventually(t, 5*time.Second, "the log says so", func() bool {
		log, err := os.ReadFile(s.log)
		return err == nil && strings.Contains(string(log), "this edge cannot be listed in the worker's /health")
	})
	s.want(booking, step("INIT", "", "tok", nil), "NAME")
	if a := webhook(s, `{"n":1}`); a.status != http.StatusOK {
		t.Errorf("webhook: status %d", a.status)
	}
}
