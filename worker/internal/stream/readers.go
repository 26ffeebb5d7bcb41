package stream

import (
	"context"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
)

// blockFor is how long one read waits for entries. A context does not interrupt
// a blocked read (go-redis 2556), so it bounds how long stopping takes.
const blockFor = time.Second

// dialsBeforeRest is two minutes of every reader's tries.
const dialsBeforeRest = 1 << 14

// Readers reads every stream of every shard.
type Readers struct {
	config  Config
	metrics *metrics
	gate    *gate
	quiet   *throttle
	readers []*reader
	block   time.Duration

	// suspects is held for writing while entries are stored that may end the
	// process, for reading while others are.
	suspects sync.RWMutex
}

// New prepares readers; it opens no connection.
func New(c Config) (*Readers, error) {
	if err := c.setDefaults(); err != nil {
		return nil, err
	}
	r := &Readers{config: c, metrics: newMetrics(c.Metrics), gate: newGate(), quiet: &throttle{every: 5 * time.Second}, block: blockFor}
	for shard := range c.Keys.Shards() {
		r.readers = append(r.readers,
			&reader{set: r, shard: shard, key: c.Keys.Events(shard), count: 64, backlog: backlogEntries},
			&reader{set: r, shard: shard, key: c.Keys.LargeEvents(shard), count: 1, backlog: 1})
	}
	return r, nil
}

// Run reads until ctx ends, stores what is in hand, and returns nil. Whatever
// fails meanwhile is tried again; Redis need not be up when it is called.
func (r *Readers) Run(ctx context.Context) error {
	client := r.newClient()
	defer func() { _ = client.Close() }()

	// What was read before the stop is stored after it, for StopTimeout.
	storing, abandon := context.WithCancel(context.WithoutCancel(ctx))
	defer abandon()
	stopTimer := context.AfterFunc(ctx, func() {
		timer := time.AfterFunc(r.config.StopTimeout, abandon)
		context.AfterFunc(storing, func() { timer.Stop() })
	})
	defer stopTimer()

	// Room for the one batch that each reader has in hand: handing over never
	// blocks, and nothing else is ever queued.
	work := make(chan *batch, len(r.readers))
	var readers, writers sync.WaitGroup
	for range r.config.Writers {
		writers.Go(func() { r.write(storing, work) })
	}
	for _, reader := range r.readers {
		reader.client, reader.work = client, work
		readers.Go(func() { reader.run(ctx) })
	}
	readers.Go(func() { r.watch(ctx, client) })
	readers.Wait()
	close(work)
	writers.Wait()
	return nil
}

// Progress is when the reader that is furthest behind last got an answer from
// Redis and had nothing left to store; zero before all of them have. Readiness
// is that this is recent.
func (r *Readers) Progress() time.Time {
	var oldest int64
	for _, reader := range r.readers {
		at := reader.progress.Load()
		if at == 0 {
			return time.Time{}
		}
		if oldest == 0 || at < oldest {
			oldest = at
		}
	}
	return time.UnixMilli(oldest)
}

func (r *Readers) newClient() redis.UniversalClient {
	o := r.config.Redis
	o.ClientName = clientName(r.config.Consumer)
	// Connections are as many as there are readers, writers and a few, whatever the
	// size of the pool. But it is also the number of failed dials after which the
	// pool asks for a server that is gone no more than once a second (go-redis),
	// and the streams would be read that much later when it is back.
	o.PoolSize = dialsBeforeRest
	o.MinIdleConns, o.PipelinePoolSize = 0, -1 // and no second pool for pipelines
	// Readers use theirs all the time. One that is left over may have died without
	// a word meanwhile, which would cost whoever takes it ReadTimeout.
	o.ConnMaxIdleTime = 3 * time.Second
	o.MaxRetries, o.MaxRedirects = -1, -1
	o.DialerRetries = 1 // or a server that is gone is noticed late: a reader tries again itself
	o.ContextTimeoutEnabled = false
	o.ReadTimeout, o.WriteTimeout, o.DialTimeout = 5*time.Second, 5*time.Second, 5*time.Second
	o.MaintNotificationsConfig = &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}
	return redis.NewUniversalClient(&o)
}

// clientName is what CLIENT LIST calls the connections of the readers. Redis
// takes no spaces and nothing that is not ASCII.
func clientName(consumer string) string {
	return "whatsapp-flows-worker:" + strings.Map(func(r rune) rune {
		if r <= ' ' || r > '~' {
			return '-'
		}
		return r
	}, consumer)
}
