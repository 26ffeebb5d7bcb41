package api

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/redis/go-redis/v9"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/keyspace"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/worker/internal/testkit"
)

// graveyard is an API with dead entries and a Redis.
type graveyard struct {
	*routed
	redis redis.UniversalClient
	keys  keyspace.Keys
}

func bury(t *testing.T) *graveyard {
	t.Helper()
	t.Parallel()
	client, keys, _ := testkit.Redis(t, 2)
	s := serve(t, func(c *Config) { c.Redis, c.Keys = client, keys })
	return &graveyard{&routed{collected: &collected{served: s, began: time.Date(2026, 11, 20, 8, 0, 0, 0, time.UTC)}}, client, keys}
}

func (g *graveyard) entry(account, stream, kind string, minute int, fields map[string][]byte) uuid.UUID {
	g.t.Helper()
	g.made++
	id := g.idOf(minute, g.made)
	encoded, err := json.Marshal(fields)
	if err != nil {
		g.t.Fatal(err)
	}
	g.exec(`INSERT INTO dead_entries (id, at, account, stream, stream_id, kind, reason, fields) VALUES ($1, $2, $3, $4, $5, $6, 'it cannot be read', $7)`,
		id, g.began.Add(time.Duration(minute)*time.Minute), account, stream, id.String(), kind, encoded)
	return id
}

func TestDeadEntriesAreListedAndPutBack(t *testing.T) {
	g := bury(t)
	stream := g.keys.LargeEvents(1)
	hook := g.entry("default", stream, "webhook", 1, map[string][]byte{"v": []byte("1"), "body": []byte("\x00\xff{}"), "id": []byte("a")})
	g.entry("shop", g.keys.Events(0), "step", 2, map[string][]byte{"v": []byte("1")})
	old := g.entry("default", "another:{s0}:events", "step", 3, map[string][]byte{"v": []byte("1")})
	for query, want := range map[string]string{
		"": "3 2 1", "kind=step": "3 2", "stream=" + g.keys.Events(0): "2", "requeued=false": "3 2 1", "requeued=true": "",
		"since=2026-11-20T08:02:00Z": "3 2", "until=2026-11-20T08:02:00Z": "1", "account=shop": "2",
	} {
		if got := g.minutes(g.get("/api/dead?" + query)); got != want {
			t.Errorf("%s: %q, want %q", query, got, want)
		}
	}
	var one struct {
		Fields       map[string]string
		FieldsBase64 map[string][]byte
		RequeuedAt   *string
	}
	g.get("/api/dead/" + hook.String()).is(200).data(&one)
	if one.Fields["v"] != "1" || string(one.FieldsBase64["body"]) != "\x00\xff{}" || one.RequeuedAt != nil {
		t.Errorf("%+v", one)
	}
	for range 2 { // the second time it is left alone
		if g.send("POST", "/api/dead/"+hook.String()+"/requeue", nil).is(200).data(&one); one.RequeuedAt == nil {
			t.Error("not marked")
		}
	}
	entries, err := g.redis.XRange(t.Context(), stream, "-", "+").Result()
	if err != nil || len(entries) != 1 || entries[0].Values["body"] != "\x00\xff{}" || entries[0].Values["id"] != "a" || len(entries[0].Values) != 3 {
		t.Errorf("in the stream: %v, %v", entries, err)
	}
	g.send("POST", "/api/dead/"+old.String()+"/requeue", nil).failed(409, "ConflictError", "REDIS_PREFIX")
	var done Requeued
	if g.send("POST", "/api/dead/requeue", input{"kind": "step"}).is(200).data(&done); done.Count != 1 || done.Skipped != 1 || done.More {
		t.Errorf("%+v", done)
	}
	if g.send("POST", "/api/dead/requeue", input{}).is(200).data(&done); done.Count != 0 {
		t.Errorf("once more: %+v", done)
	}
	if got := g.minutes(g.get("/api/dead?requeued=true")); got != "2 1" {
		t.Errorf("marked: %s", got)
	}
	g.get("/api/dead/"+uuid.NewString()).failed(404, "NotFoundError")
	g.get("/api/dead/7").failed(400, "ValidationError")
	g.send("POST", "/api/dead/"+uuid.NewString()+"/requeue", nil).failed(404, "NotFoundError")
	g.send("POST", "/api/dead/requeue", input{"limit": 0}).failed(400, "ValidationError", "limit")
	g.as(readerToken).send("POST", "/api/dead/requeue", input{}).failed(403, "ForbiddenError")
}

func TestDeadEntriesOfOtherAccountsAreInvisible(t *testing.T) {
	g := bury(t)
	other := g.entry("bank", g.keys.Events(0), "step", 1, map[string][]byte{"v": []byte("1")})
	shop := g.as(shopToken)
	if got := shop.get("/api/dead").ids("id"); got != "" {
		t.Errorf("list %s", got)
	}
	shop.get("/api/dead/"+other.String()).failed(404, "NotFoundError")
	shop.send("POST", "/api/dead/"+other.String()+"/requeue", nil).failed(404, "NotFoundError")
	var done Requeued
	if shop.send("POST", "/api/dead/requeue", input{}).is(200).data(&done); done.Count != 0 {
		t.Errorf("%+v", done)
	}
}

func TestAnEntryThatRedisRefusesStaysDead(t *testing.T) {
	g := bury(t)
	id := g.entry("default", g.keys.Events(0), "step", 1, map[string][]byte{"v": []byte("1")})
	if err := g.redis.Set(t.Context(), g.keys.Events(0), "no stream", 0).Err(); err != nil {
		t.Fatal(err)
	}
	g.send("POST", "/api/dead/"+id.String()+"/requeue", nil).failed(503, "UNAVAILABLE", "Redis")
	g.send("POST", "/api/dead/requeue", input{}).failed(503, "UNAVAILABLE", "Redis")
	if got := g.get("/api/dead").is(200); !strings.Contains(string(got.body), `"requeuedAt":null`) {
		t.Errorf("%s", got.body)
	}
}
