package stream

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"
	"go.uber.org/zap"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/keyspace"
)

// firstSweep is how long after its start a reader first sweeps: not while it
// catches up with what came before.
const firstSweep = 5 * time.Minute

// sweepScript removes consumers that hold nothing and were not heard of, and
// returns their names. XGROUP DELCONSUMER drops a consumer's pending entries,
// after which nobody can read them: that there are none must be known in the
// same step. One that comes back is created by its next read; so is one that was
// only quiet, for Redis 7.0 does not count a read that found nothing as heard of.
//
//	KEYS  stream
//	ARGV  group, consumer that is kept, idle milliseconds
var sweepScript = redis.NewScript(`
local consumers = redis.pcall('XINFO', 'CONSUMERS', KEYS[1], ARGV[1])
if consumers.err then return consumers end
local removed = {}
for _, consumer in ipairs(consumers) do
	local of = {}
	for i = 1, #consumer, 2 do of[consumer[i]] = consumer[i + 1] end
	if of.name ~= ARGV[2] and of.pending == 0 and of.idle >= tonumber(ARGV[3]) then
		redis.call('XGROUP', 'DELCONSUMER', KEYS[1], ARGV[1], of.name)
		removed[#removed + 1] = of.name
	end
end
return removed
`)

// sweep removes the consumers of workers that are gone for good, or each that
// ever ran under a name of its own would stay.
func (r *reader) sweep(ops context.Context) error {
	if time.Since(r.swept) < r.set.config.SweepEvery {
		return nil
	}
	removed, err := sweepScript.Run(ops, r.server, []string{r.key},
		keyspace.Group, r.set.config.Consumer, r.set.config.ConsumerIdle.Milliseconds()).StringSlice()
	if refused := redis.Error(nil); errors.As(err, &refused) {
		// Fails open: what Redis refuses here, such as scripts to a user who may
		// not run them, must not keep entries from being read.
		r.set.config.Log.Warn("consumers that are gone cannot be removed, trying again later", zap.String("stream", r.key), zap.Error(err))
	} else if err != nil {
		return fmt.Errorf("removing consumers that are gone: %w", err)
	}
	r.swept = time.Now()
	if len(removed) > 0 {
		r.set.metrics.removed.Add(float64(len(removed)))
		r.set.config.Log.Info("removed consumers that are gone and hold nothing",
			zap.String("stream", r.key), zap.Strings("consumers", removed))
	}
	return nil
}
