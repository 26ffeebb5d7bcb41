package redischeck

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/doctor"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/keyspace"
)

// unreadable is a finding about keys that Redis did not show.
func unreadable(name string, err error) doctor.Finding {
	fix := remedy(err)
	if refused(err) {
		fix = "allow the keys and commands to the user that REDIS_URL names"
	}
	return doctor.Failed(name, oneLine(err), "edge or worker cannot use it either", fix)
}

func (c Config) shards(ctx context.Context) doctor.Finding {
	held, err := c.Client.Get(ctx, c.Keys.ShardCount()).Result()
	switch {
	case errors.Is(err, redis.Nil):
		return doctor.Fine(Shards, "%d configured; this Redis is not in use yet", c.Keys.Shards())
	case err != nil:
		return unreadable(Shards, err)
	case held != strconv.Itoa(c.Keys.Shards()):
		return doctor.Failed(Shards, fmt.Sprintf("%d configured, this Redis is in use with %s", c.Keys.Shards(), held),
			"the process stops at its start", "set REDIS_SHARDS="+held+" for edge and worker; the number cannot change while the Redis is in use")
	}
	return doctor.Fine(Shards, "%s", held)
}

// How long the oldest event may wait.
const (
	lagWarn = time.Minute
	lagFail = 15 * time.Minute
)

// lag looks at what waits for the worker: it deletes what it has stored.
func (c Config) lag(ctx context.Context, now time.Time) doctor.Finding {
	pipe := c.Client.Pipeline()
	var lengths []*redis.IntCmd
	var firsts []*redis.XMessageSliceCmd
	for n := range c.Keys.Shards() {
		for _, key := range []string{c.Keys.Events(n), c.Keys.LargeEvents(n)} {
			lengths = append(lengths, pipe.XLen(ctx, key))
			firsts = append(firsts, pipe.XRangeN(ctx, key, "-", "+", 1))
		}
	}
	if _, err := pipe.Exec(ctx); err != nil {
		return unreadable(Lag, err)
	}
	var waiting int64
	var oldest time.Duration
	for i := range lengths {
		waiting += lengths[i].Val()
		for _, entry := range firsts[i].Val() {
			oldest = max(oldest, now.Sub(entryTime(entry.ID)))
		}
	}
	if waiting == 0 {
		return doctor.Fine(Lag, "no event waits")
	}
	evidence := fmt.Sprintf("%d events wait, the oldest for %s", waiting, oldest.Round(time.Second))
	const meaning = "answers are kept in Redis, but are not stored or delivered yet; Redis fills"
	const fix = "start a worker, or another one; look at its log and at `worker doctor`"
	switch {
	case oldest >= lagFail:
		return doctor.Failed(Lag, evidence, meaning, fix)
	case oldest >= lagWarn:
		return doctor.Warned(Lag, evidence, meaning, fix)
	}
	return doctor.Fine(Lag, "%s", evidence)
}

// entryTime is when an entry was added, by Redis's clock.
func entryTime(id string) time.Time {
	text, _, _ := strings.Cut(id, "-")
	ms, _ := strconv.ParseInt(text, 10, 64)
	return time.UnixMilli(ms)
}

func (c Config) dead(ctx context.Context) doctor.Finding {
	pipe := c.Client.Pipeline()
	lengths := make([]*redis.IntCmd, c.Keys.Shards())
	for n := range lengths {
		lengths[n] = pipe.XLen(ctx, c.Keys.DeadEvents(n))
	}
	if _, err := pipe.Exec(ctx); err != nil {
		return unreadable(Dead, err)
	}
	var dead int64
	for _, length := range lengths {
		dead += length.Val()
	}
	if dead > 0 {
		return doctor.Warned(Dead, fmt.Sprintf("%d entries could not be stored", dead), "what is in them is kept, but in no table",
			"see why with `worker dead list`, then put them back with `worker dead requeue`")
	}
	return doctor.Fine(Dead, "none")
}

func (c Config) flows(ctx context.Context) doctor.Finding {
	names, err := c.index(ctx)
	switch {
	case err != nil:
		return unreadable(Flows, err)
	case len(names) == 0 && c.FlowsElsewhere:
		return doctor.Skip(Flows, "none; the configuration has flows of its own")
	case len(names) == 0:
		return doctor.Warned(Flows, "none", "every flow gets 404",
			"publish some with `worker flows load DIR`, or by the API, unless the edge's configuration has flows of its own; or is REDIS_PREFIX another than the worker's?")
	}
	lost, err := c.lost(ctx, names)
	switch {
	case err != nil:
		return unreadable(Flows, err)
	case len(lost) > 0:
		return doctor.Failed(Flows, "Redis has no definition of "+strings.Join(lost, ", "), "an edge that starts now cannot serve them", "publish them again with `worker flows load DIR`, or by the API")
	}
	return doctor.Fine(Flows, "%s", strings.Join(slices.Sorted(maps.Keys(names)), ", "))
}

// lost are the flows whose definition is gone.
func (c Config) lost(ctx context.Context, index map[string]string) (names []string, err error) {
	pipe := c.Client.Pipeline()
	there := make(map[string]*redis.IntCmd, len(index))
	for name, hash := range index {
		there[name] = pipe.Exists(ctx, c.Keys.Definition(hash))
	}
	if _, err := pipe.Exec(ctx); err != nil {
		return nil, err
	}
	for name, exists := range there {
		if exists.Val() == 0 {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names, nil
}

// index is account/flow and the hash of its definition, of those not unloaded.
func (c Config) index(ctx context.Context) (map[string]string, error) {
	index, err := c.Client.HGetAll(ctx, c.Keys.Index()).Result()
	maps.DeleteFunc(index, func(_, hash string) bool { return hash == keyspace.Tombstone })
	return index, err
}

// Published reads the definitions that edges serve: account/flow and the document
// of each. What cannot be read is left out.
func (c Config) Published(ctx context.Context) (map[string][]byte, error) {
	index, err := c.index(ctx)
	if err != nil {
		return nil, err
	}
	documents := make(map[string][]byte, len(index))
	for field, hash := range index {
		document, err := c.Client.Get(ctx, c.Keys.Definition(hash)).Bytes()
		if errors.Is(err, redis.Nil) {
			continue
		}
		if err != nil {
			return nil, err
		}
		documents[field] = document
	}
	return documents, nil
}
