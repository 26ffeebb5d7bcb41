package state

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/event"
)

const (
	markInterval   = 30 * time.Second
	memoryInterval = time.Second
	// fullAt is the share of maxmemory above which new webhooks are refused, so
	// that what is under way can still be written.
	fullAt = 0.8
)

// Run publishes marks and watches Redis's memory until ctx ends; then it
// publishes a last mark and returns.
func (s *Store) Run(ctx context.Context) {
	_ = s.load(ctx)
	marks := time.NewTicker(markInterval)
	defer marks.Stop()
	memory := time.NewTicker(memoryInterval)
	defer memory.Stop()
	for {
		select {
		case <-ctx.Done():
			last, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
			defer cancel()
			s.Mark(last)
			return
		case <-marks.C:
			s.Mark(ctx)
		case <-memory.C:
			s.watchMemory(ctx)
		}
	}
}

// Mark publishes, per shard, what has been acknowledged so far. A mark that
// cannot be published is made up for by the next.
func (s *Store) Mark(ctx context.Context) {
	for shard, seq := range s.sequences {
		// A second mark, when the first declared numbers void, lets the
		// watermark pass them at once.
		for range 2 {
			low, void, ok := seq.mark()
			if !ok {
				break
			}
			err := s.xadd(ctx, s.keys.Events(shard), event.Entry{
				Kind: event.KindMark, Account: "default", Time: s.options.Now(), Source: s.source, Seq: low, Void: void,
			})
			seq.marked(low, void, err == nil || errors.Is(err, ErrReplicas))
			if err != nil || len(void) == 0 {
				break
			}
		}
	}
}

// Full says that Redis uses more than 80 % of its maxmemory, as of the last
// second. It is false while that is unknown: an append then tells.
func (s *Store) Full() bool { return s.full.Load() }

func (s *Store) watchMemory(ctx context.Context) {
	var full bool
	check := func(ctx context.Context, node *redis.Client) error {
		info, err := node.Info(ctx, "memory").Result()
		if err != nil {
			return err
		}
		used, limit := infoNumber(info, "used_memory"), infoNumber(info, "maxmemory")
		if limit > 0 && float64(used) > fullAt*float64(limit) {
			full = true
		}
		return nil
	}
	var err error
	switch c := s.client.(type) {
	case *redis.Client:
		err = check(ctx, c)
	case *redis.ClusterClient:
		var masters []*redis.Client
		// ForEachMaster runs its function concurrently: collect, then ask.
		found := make(chan *redis.Client, 1024)
		err = c.ForEachMaster(ctx, func(_ context.Context, node *redis.Client) error {
			found <- node
			return nil
		})
		close(found)
		for node := range found {
			masters = append(masters, node)
		}
		for _, node := range masters {
			err = errors.Join(err, check(ctx, node))
		}
	}
	if err == nil || full {
		s.full.Store(full)
	}
}

func infoNumber(info, name string) int64 {
	for line := range strings.SplitSeq(info, "\r\n") {
		if value, ok := strings.CutPrefix(line, name+":"); ok {
			n, _ := strconv.ParseInt(value, 10, 64)
			return n
		}
	}
	return 0
}

// ShardMismatchError says that this installation has another number of shards
// than this process is configured for.
type ShardMismatchError struct{ Installed, Configured string }

func (e *ShardMismatchError) Error() string {
	return fmt.Sprintf("redis holds data in %s shards but this process is configured for %s: set REDIS_SHARDS (or `shards`) to %s, or use another REDIS_PREFIX",
		e.Installed, e.Configured, e.Installed)
}

// CheckShards compares the number of shards with the one in Redis, and sets it
// where there is none. The error is a *ShardMismatchError or Redis's own.
func (s *Store) CheckShards(ctx context.Context) error {
	configured := strconv.Itoa(s.keys.Shards())
	key := s.keys.ShardCount()
	if err := s.client.SetNX(ctx, key, configured, 0).Err(); err != nil {
		return err
	}
	installed, err := s.client.Get(ctx, key).Result()
	if err != nil {
		return err
	}
	if installed != configured {
		return &ShardMismatchError{Installed: installed, Configured: configured}
	}
	return nil
}
