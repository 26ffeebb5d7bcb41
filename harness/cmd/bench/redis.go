package main

import (
	"context"
	"fmt"
	"os/exec"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/keyspace"
)

// settle makes Redis ready for a line: under this fsync policy, without the
// events of the line before, which a worker would have taken, and with nothing
// going on in its background.
func (t *target) settle(ctx context.Context, fsync string) error {
	if err := t.redis.ConfigSet(ctx, "appendfsync", fsync).Err(); err != nil {
		return fmt.Errorf("setting Redis's appendfsync to %s: %w", fsync, err)
	}
	keys := keyspace.New(t.Prefix, t.shards)
	_, err := t.redis.Pipelined(ctx, func(p redis.Pipeliner) error {
		for shard := range keys.Shards() {
			p.Unlink(ctx, keys.Events(shard), keys.LargeEvents(shard))
		}
		return nil
	})
	if err != nil {
		return err
	}
	return quiet(ctx, t.redis)
}

// quiet returns once Redis neither rewrites its file nor frees memory.
func quiet(ctx context.Context, client *redis.Client) error {
	for {
		persistence, err := redisInfo(ctx, client, "persistence")
		if err != nil {
			return err
		}
		memory, err := redisInfo(ctx, client, "memory")
		if err != nil {
			return err
		}
		if persistence["aof_rewrite_in_progress"] == "0" && persistence["aof_rewrite_scheduled"] == "0" &&
			persistence["aof_pending_bio_fsync"] == "0" && memory["lazyfree_pending_objects"] == "0" {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// minAppends is how much redis-benchmark must do to be measured: some tens of
// milliseconds.
const minAppends = 2000

// appendRate is the rate at which redis-benchmark appends entries with a body of
// so many bytes over so many connections.
func (r rounds) appendRate(ctx context.Context, t *target, connections, appends, size int) (perSecond float64, err error) {
	key := t.Prefix + "redis-benchmark"
	cmd := exec.CommandContext(ctx, r.redisBenchmark, "-u", t.RedisURL, "-c", strconv.Itoa(connections), "-n", strconv.Itoa(max(appends, minAppends)),
		"--csv", "XADD", key, "*", "body", randomText(size))
	out, err := cmd.Output()
	if err != nil {
		return 0, fmt.Errorf("redis-benchmark: %w", err)
	}
	if perSecond, err = parseRedisBenchmark(string(out)); err != nil {
		return 0, err
	}
	return perSecond, t.redis.Unlink(ctx, key).Err()
}

// parseRedisBenchmark reads what redis-benchmark --csv ends with: a line of
// quoted values whose second is the rate.
func parseRedisBenchmark(printed string) (perSecond float64, err error) {
	lines := strings.Split(strings.TrimSpace(printed), "\n")
	_, values, found := strings.Cut(lines[len(lines)-1], `","`)
	rate, _, _ := strings.Cut(values, `"`)
	if perSecond, err = strconv.ParseFloat(rate, 64); !found || err != nil {
		return 0, fmt.Errorf("redis-benchmark printed %q last, expected a quoted name and a quoted rate", clip(lines[len(lines)-1]))
	}
	return perSecond, nil
}

func clip(s string) string { return s[:min(len(s), 80)] }
