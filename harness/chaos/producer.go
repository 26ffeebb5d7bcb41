package chaos

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/event"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/keyspace"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/redisurl"
)

// Producer appends entries as an edge does: numbered for each shard, marked, with
// the numbers that were not acknowledged declared void. What is not acknowledged
// is appended again under a new number, as Meta sends a webhook again that got
// no 200.
type Producer struct {
	client redis.UniversalClient
	keys   keyspace.Keys
	source string
	run    string
	// wait is how many replicas must have an entry for it to count as
	// acknowledged, waitFor how long they may take.
	wait    int
	waitFor time.Duration
	// unique leaves out what Meta sends twice, for rows that count entries.
	unique bool

	mu       sync.Mutex
	next     int                 // conversation
	queue    []occurrence        // to be appended
	seq      []uint64            // by shard: the last number given
	void     [][]uint64          // by shard: not acknowledged and not declared yet
	acked    map[string]receipt  // by row: the entry that must bring it
	unknown  map[string]struct{} // rows of entries that may have been appended
	entries  int                 // acknowledged
	failures int
	lastErr  error

	// What Start was to append and what it did, for Pace.
	rate        int
	began       time.Time // zero: paused
	held        time.Duration
	due, loaded float64

	stop    context.CancelFunc
	running sync.WaitGroup
}

// receipt is where an acknowledged entry was.
type receipt struct {
	shard int
	seq   uint64
	id    string // of the stream
	entry int    // running number: rows of one entry share it
}

func newProducer(redisURL string, keys keyspace.Keys) (*Producer, error) {
	o, err := redisurl.Parse(redisURL)
	if err != nil {
		return nil, err
	}
	o.MaxRetries = -1 // a command that is sent again appends twice
	o.DialTimeout, o.ReadTimeout, o.WriteTimeout = time.Second, 2*time.Second, 2*time.Second
	o.DialerRetries = 1
	// After so many failed dials the pool tries once a second, and what comes later
	// than Redis would count as the worker's recovery.
	o.PoolSize, o.PipelinePoolSize = 1<<14, -1
	o.MaintNotificationsConfig = &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}
	run := strings.ToLower(rand.Text()[:8])
	return &Producer{
		client: redis.NewUniversalClient(o), keys: keys, source: "edge-" + run, run: run,
		seq: make([]uint64, keys.Shards()), void: make([][]uint64, keys.Shards()),
		acked: make(map[string]receipt), unknown: make(map[string]struct{}),
	}, nil
}

// Start appends so many events a second in the background until Pause.
func (p *Producer) Start(rate int) {
	ctx, stop := context.WithCancel(context.Background())
	p.stop = stop
	p.mu.Lock()
	p.rate, p.began = rate, time.Now()
	p.mu.Unlock()
	p.running.Go(func() {
		const every = 10 * time.Millisecond
		tick := time.NewTicker(every)
		defer tick.Stop()
		began, given := time.Now(), 0
		for marked := began; ; {
			select {
			case <-ctx.Done():
				return
			case now := <-tick.C:
				// By the clock, so that a slow Redis is met with the same load.
				due := int(now.Sub(began).Seconds() * float64(rate))
				n := p.append(ctx, min(due-given, 2*rate))
				given += n
				p.mu.Lock()
				p.loaded += float64(n)
				p.mu.Unlock()
				if now.Sub(marked) > time.Second {
					marked = now
					p.mark(ctx)
				}
			}
		}
	})
}

// Pause ends what Start began, after the append under way.
func (p *Producer) Pause() {
	if p.stop != nil {
		p.stop()
		p.mu.Lock()
		held := time.Since(p.began)
		p.held, p.due, p.began = p.held+held, p.due+held.Seconds()*float64(p.rate), time.Time{}
		p.mu.Unlock()
		p.running.Wait()
		p.stop = nil
	}
}

// Pace is how many events a second Redis has acknowledged under load, and how many
// it was to. Both are 0 before the first Start.
func (p *Producer) Pace() (measured, nominal float64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	held, due := p.held, p.due
	if !p.began.IsZero() {
		now := time.Since(p.began)
		held, due = held+now, due+now.Seconds()*float64(p.rate)
	}
	if held == 0 {
		return 0, 0
	}
	return p.loaded / held.Seconds(), due / held.Seconds()
}

// Position is where the producer is on each shard.
func (p *Producer) Position() position {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append(position(nil), p.seq...)
}

// Add appends n events now.
func (p *Producer) Add(ctx context.Context, n int) error {
	for n > 0 && ctx.Err() == nil {
		n -= p.append(ctx, min(n, perAppend))
	}
	return ctx.Err()
}

// Finish pauses, appends what was not acknowledged until it is, and marks.
func (p *Producer) Finish(ctx context.Context) error {
	p.Pause()
	for {
		p.mu.Lock()
		left, lastErr := len(p.queue), p.lastErr
		p.mu.Unlock()
		if left == 0 && p.mark(ctx) {
			return nil
		}
		if ctx.Err() != nil {
			return fmt.Errorf("%d entries were not acknowledged by Redis: %w (%v)", left, ctx.Err(), lastErr)
		}
		p.append(ctx, left)
	}
}

func (p *Producer) close() error {
	p.Pause()
	return p.client.Close()
}

// Events is how many entries Redis has acknowledged.
func (p *Producer) Events() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.entries
}

const perAppend = 200

// append sends up to n events in one pipeline and returns how many were
// acknowledged. After a failure it pauses a little.
func (p *Producer) append(ctx context.Context, n int) (acked int) {
	if n <= 0 {
		return 0
	}
	p.mu.Lock()
	for len(p.queue) < n {
		p.queue = append(p.queue, conversation(p.run, p.next, p.keys, p.unique)...)
		p.next++
	}
	batch := append([]occurrence(nil), p.queue[:min(n, perAppend)]...)
	p.queue = p.queue[len(batch):]
	seqs := make([]uint64, len(batch))
	for i, o := range batch {
		p.seq[o.shard]++
		seqs[i] = p.seq[o.shard]
	}
	p.mu.Unlock()

	// An append that has begun is ended: whether it was acknowledged must be known.
	ids, errs := p.send(context.WithoutCancel(ctx), batch, seqs)
	p.mu.Lock()
	for i, o := range batch {
		if errs[i] != nil {
			p.failed(o, seqs[i], errs[i])
			continue
		}
		p.entries++
		acked++
		for _, row := range o.rows {
			p.acked[row] = receipt{shard: o.shard, seq: seqs[i], id: ids[i], entry: p.entries}
		}
	}
	p.mu.Unlock()
	if acked < len(batch) {
		if cluster, ok := p.client.(*redis.ClusterClient); ok {
			cluster.ReloadState(ctx) // the masters may be others by now
		}
		time.Sleep(50 * time.Millisecond)
	}
	return acked
}

// send appends a batch in one pipeline and returns for each entry its id or why it
// was not acknowledged.
func (p *Producer) send(ctx context.Context, batch []occurrence, seqs []uint64) (ids []string, errs []error) {
	ids, errs = make([]string, len(batch)), make([]error, len(batch))
	for client, part := range p.parts(ctx, batch) {
		answers := make([]*redis.StringCmd, len(part))
		var replicas *redis.Cmd
		now := time.Now()
		_, _ = client.Pipelined(ctx, func(pipe redis.Pipeliner) error { // each command has its own error
			for n, i := range part {
				o := batch[i]
				answers[n] = pipe.XAdd(ctx, &redis.XAddArgs{Stream: p.keys.Events(o.shard), Values: event.Entry{
					Kind: o.kind, Account: account, ID: o.id, Time: now, Source: p.source, Seq: seqs[i], Body: o.body,
				}.Values()})
			}
			if p.wait > 0 {
				replicas = pipe.Do(ctx, "WAIT", p.wait, p.waitFor.Milliseconds())
			}
			return nil
		})
		var late error
		if replicas != nil {
			if n, err := replicas.Int(); err != nil {
				late = err
			} else if n < p.wait {
				late = errors.New("too few replicas had the entry in time")
			}
		}
		for n, i := range part {
			if ids[i], errs[i] = answers[n].Result(); errs[i] == nil {
				errs[i] = late
			}
		}
	}
	return ids, errs
}

// parts says which client appends which entries of a batch: the one there is,
// but on a cluster whose replicas are waited for each shard's own master, which
// WAIT must be asked of.
func (p *Producer) parts(ctx context.Context, batch []occurrence) map[redis.UniversalClient][]int {
	parts := make(map[redis.UniversalClient][]int)
	cluster, ok := p.client.(*redis.ClusterClient)
	for i, o := range batch {
		client := p.client
		if ok && p.wait > 0 {
			if master, err := cluster.MasterForKey(ctx, p.keys.Events(o.shard)); err == nil {
				client = master
			}
		}
		parts[client] = append(parts[client], i)
	}
	return parts
}

// failed notes that an append was not acknowledged; it may have happened.
func (p *Producer) failed(o occurrence, seq uint64, err error) {
	p.failures++
	p.lastErr = err
	p.void[o.shard] = append(p.void[o.shard], seq)
	p.queue = append(p.queue, o)
	for _, row := range o.rows {
		p.unknown[row] = struct{}{}
	}
}

// mark tells for each shard what has been acknowledged or is void, and says
// whether Redis took all of it.
func (p *Producer) mark(ctx context.Context) bool {
	ctx = context.WithoutCancel(ctx)
	ok := true
	for shard := range p.seq {
		p.mu.Lock()
		last, void := p.seq[shard], p.void[shard]
		p.mu.Unlock()
		if last == 0 {
			continue
		}
		err := p.client.XAdd(ctx, &redis.XAddArgs{Stream: p.keys.Events(shard), Values: event.Entry{
			Kind: event.KindMark, Account: account, Time: time.Now(), Source: p.source, Seq: last, Void: void,
		}.Values()}).Err()
		if err != nil {
			p.mu.Lock()
			p.lastErr = err
			p.mu.Unlock()
			return false
		}
		p.mu.Lock()
		p.void[shard] = p.void[shard][len(void):]
		p.mu.Unlock()
	}
	return ok
}
