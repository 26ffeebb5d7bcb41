// Package stream reads the Redis streams that the edge appends to: one reader
// for each stream, a consumer group that comes back after any loss, entries
// acknowledged and deleted only after they are committed.
//
//	XREADGROUP ─▶ batch in hand ─▶ writer merges batches ─▶ Write commits ─▶ XACK + XDEL
//
// A reader has one batch in hand at a time and reads the next only when that is
// stored, so a slow or absent database leaves the backlog in Redis.
package stream

import (
	"context"
	"errors"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/go-redis/v9"
	"go.uber.org/zap"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/keyspace"
)

// Config says what to read and who stores it.
type Config struct {
	// Redis are the options of the connection. The readers open a client of
	// their own with them, with a pool large enough that blocked reads starve
	// nobody, and without retries: a retried XREADGROUP hides its first reply
	// in the pending list.
	Redis redis.UniversalOptions
	Keys  keyspace.Keys

	// Consumer is this process's name in the group. It must be stable across
	// restarts, so that own pending entries are found at once, and held by one
	// process at a time: see store.ClaimName.
	Consumer string

	// Write stores entries durably, or returns an error that says nothing was
	// stored for certain; the same entries are then written again until it
	// succeeds, so it must be idempotent. Entries that can never be stored are
	// returned as dead, having been recorded; an entry with a Problem always is.
	// It is called from Writers goroutines at once.
	Write func(ctx context.Context, entries []Entry) ([]Dead, error)

	// Stored is told of the entries of a committed batch, those among them that
	// are dead, and when a writer took them. It must not block. Optional.
	Stored func(entries []Entry, dead []Dead, taken time.Time)

	// Writers is the number of concurrent transactions. Default 2: on two cores
	// more bring nothing.
	Writers int

	// GroupCreated is called when a consumer group had to be created, which
	// after the first start means that Redis lost its data: definitions and the
	// number of shards must be published again. It may be called once for each
	// stream and must not block. Optional.
	GroupCreated func()

	// MinIdle is how long an entry must have been pending with another consumer
	// before it is claimed; default 60 s. A live reader says three times in that
	// time that what it has in hand is its own.
	// ClaimEvery is how often that is looked for; default 15 s.
	MinIdle, ClaimEvery time.Duration

	// ConsumerIdle is how long a consumer without pending entries must not have
	// been heard of before it is removed from its group; default 24 h. SweepEvery
	// is how often that is looked for; default 1 h, the first time sooner.
	ConsumerIdle, SweepEvery time.Duration

	// StopTimeout is how long Run goes on storing what is in hand after its
	// context ended. Default 20 s.
	StopTimeout time.Duration

	Log     *zap.Logger           // default: none
	Metrics prometheus.Registerer // default: none
}

func (c *Config) setDefaults() error {
	switch {
	case c.Consumer == "":
		return errors.New("stream: no consumer name")
	case c.Write == nil:
		return errors.New("stream: no Write")
	}
	if c.Writers <= 0 {
		c.Writers = 2
	}
	if c.MinIdle <= 0 {
		c.MinIdle = time.Minute
	}
	if c.ClaimEvery <= 0 {
		c.ClaimEvery = 15 * time.Second
	}
	if c.ConsumerIdle <= 0 {
		c.ConsumerIdle = 24 * time.Hour
	}
	if c.SweepEvery <= 0 {
		c.SweepEvery = time.Hour
	}
	if c.StopTimeout <= 0 {
		c.StopTimeout = 20 * time.Second
	}
	if c.Stored == nil {
		c.Stored = func([]Entry, []Dead, time.Time) {}
	}
	if c.GroupCreated == nil {
		c.GroupCreated = func() {}
	}
	if c.Log == nil {
		c.Log = zap.NewNop()
	}
	return nil
}
