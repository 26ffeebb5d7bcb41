package caddymodule

import (
	"cmp"
	"context"
	"os"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/redis/go-redis/v9"
	"go.uber.org/zap"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/presence"
)

// announceScript writes an edge's field with Redis's own time, and deletes those
// of edges that are gone, unreadable or too many. The whole hash ends with its
// last edge.
//
//	KEYS  edges
//	ARGV  source, the edge as JSON, ms from which an edge is gone, edges to keep
var announceScript = redis.NewScript(`
local t = redis.call('TIME')
local now, gone = t[1] * 1000 + math.floor(t[2] / 1000), tonumber(ARGV[3])
local all, others = redis.call('HGETALL', KEYS[1]), {}
for i = 1, #all, 2 do
  local seen = tonumber(string.match(all[i + 1], '^{"seen":(%d+)')) or 0
  -- One far ahead was written before the clock was set back.
  if math.abs(now - seen) >= gone then
    redis.call('HDEL', KEYS[1], all[i])
  elseif all[i] ~= ARGV[1] then
    others[#others + 1] = {seen, all[i]}
  end
end
table.sort(others, function(a, b) return a[1] < b[1] end)
for i = 1, #others + 1 - tonumber(ARGV[4]) do
  redis.call('HDEL', KEYS[1], others[i][2])
end
redis.call('HSET', KEYS[1], ARGV[1], string.format('{"seen":%d,', now) .. string.sub(ARGV[2], 2))
redis.call('PEXPIRE', KEYS[1], ARGV[3])
return 1
`)

// processStarted is when this edge began, reloads apart.
var processStarted = time.Now().UTC().Truncate(time.Second)

// announcer shows this edge to the worker, whose /health lists the edges.
type announcer struct {
	b       *backend
	edge    []byte    // JSON
	last    time.Time // of the last announcement that Redis took
	shown   bool      // there was one
	refused bool      // Redis did not take the last one, and that was logged
}

func (b *backend) announcer() *announcer {
	host, _ := os.Hostname() // without one, the process id has to do
	version, _ := caddy.Version()
	return &announcer{b: b, edge: presence.Edge{
		Host: host, PID: os.Getpid(), Version: cmp.Or(caddy.CustomVersion, version),
		PrivateKeyBackend: keyBackend(), Started: processStarted,
	}.Encode()}
}

// announce writes the edge's field if it is time to. A Redis that does not take
// it is asked again a second later; requests are served all the same.
func (a *announcer) announce(ctx context.Context) {
	if time.Since(a.last) < presence.Every {
		return
	}
	err := announceScript.Run(ctx, a.b.client, []string{a.b.keys.Edges()},
		a.b.store.Source(), a.edge, presence.Gone.Milliseconds(), presence.Limit).Err()
	log := caddy.Log().Named(appID)
	switch {
	case err == nil:
		a.last = time.Now()
		if !a.shown {
			log.Info("listed in the worker's /health", zap.String("edge", a.b.store.Source()))
		}
		a.shown, a.refused = true, false
	case !a.refused && ctx.Err() == nil:
		log.Warn("this edge cannot be listed in the worker's /health", zap.String("redis", a.b.where), zap.Error(err))
		a.refused = true
	}
}

// withdraw removes the edge's field, so that an edge that was stopped is not
// listed as one that may have died.
func (a *announcer) withdraw(ctx context.Context) {
	if !a.shown {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), redisTimeout)
	defer cancel()
	// Without an answer the field is as good as gone a minute from now.
	_ = a.b.client.HDel(ctx, a.b.keys.Edges(), a.b.store.Source()).Err()
}
