package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/redis/go-redis/v9"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/harness/load"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/harness/servers"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/harness/site"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/event"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/keyspace"
)

// workload is what comes to a worker.
type workload struct {
	name  string
	entry func(int) event.Entry
}

var workloads = []workload{
	// An event, a message, a contact and an answer each: the costliest kind.
	{"finished forms", func(i int) event.Entry { return webhookEntry(finishedForm(i, "")) }},
	{"statuses", func(i int) event.Entry { return webhookEntry(statusOf(i)) }},
	// Of each conversation three steps, the form, and three statuses of the message
	// that brought the flow.
	{"conversations", func(i int) event.Entry {
		switch n := i / 7; i % 7 {
		case 0, 1, 2:
			return stepOf(n, i%7)
		case 3:
			return webhookEntry(finishedForm(n, conversationToken(n)))
		default:
			return webhookEntry(statusOf(i))
		}
	}},
}

func conversationToken(n int) string { return fmt.Sprintf("conversation-%d", n) }

// stepOf is one of the three steps of conversation n.
func stepOf(n, step int) event.Entry {
	s := event.Step{
		Flow: "bench", Token: conversationToken(n), Version: int64(step + 1), Attempt: 1, Opened: step == 0, Action: "data_exchange",
		From: "RATING", To: "COMMENT", Answers: map[string]json.RawMessage{"score": json.RawMessage(`"5"`), "comment": json.RawMessage(`"all fine"`)},
		Outcome: event.OutcomeNext, StartedAt: time.Now().UTC().Truncate(time.Millisecond),
	}
	return event.Entry{Kind: event.KindStep, ID: fmt.Sprintf("%s:%d", s.Token, s.Version), Body: s.Encode()}
}

// worker measures the worker on servers of its own, with nothing pinned: it,
// Postgres and Redis share the machine.
func worker(ctx context.Context, b build, events int) (all []*Worker, err error) {
	for _, w := range workloads {
		fmt.Fprintln(os.Stderr, "worker: "+w.name+" from stream to commit")
		one, err := workerOn(ctx, b, w, events)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", w.name, err)
		}
		all = append(all, one)
	}
	return all, nil
}

func workerOn(ctx context.Context, b build, w workload, events int) (_ *Worker, err error) {
	stack, err := servers.Start(ctx, servers.Options{Durable: true, Private: true})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, stack.Close()) }()
	s, err := site.New(ctx, site.Options{
		Root: b.root, Bin: b.bin, Servers: stack,
		Worker: []string{"CALLBACK_WEBHOOK_URL="}, // intake is measured, not delivery
	})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	return intake(ctx, s, w, events)
}

// intake measures the worker from stream to commit: the streams are filled
// while no worker runs, then one is started and watched until they are empty.
func intake(ctx context.Context, s *site.Site, w workload, events int) (*Worker, error) {
	options, err := redis.ParseURL(s.RedisURL)
	if err != nil {
		return nil, err
	}
	client := redis.NewClient(options)
	defer client.Close()
	if err := newProducer(client, keyspace.New(s.Prefix, 0)).append(ctx, events, w.entry); err != nil {
		return nil, fmt.Errorf("filling the streams: %w", err)
	}
	if err := s.StartWorker(ctx); err != nil {
		return nil, err
	}
	defer func() { _ = s.Worker.End(syscall.SIGTERM, 30*time.Second) }()

	// The clock starts with the first committed batch, so that the start of the
	// process is not counted; that batch is not counted either.
	var first, begun = int64(0), time.Time{}
	deadline := time.Now().Add(2 * time.Minute)
	var cpuBefore time.Duration
	for {
		left, err := s.Unread(ctx)
		if err != nil {
			return nil, err
		}
		if begun.IsZero() && left < int64(events) {
			begun, first = time.Now(), left
			if cpuBefore, err = load.CPU(s.Worker.PID()); err != nil {
				return nil, err
			}
		}
		if left == 0 {
			break
		}
		if time.Now().After(deadline) {
			return nil, fmt.Errorf("%d of %d entries are still in the streams after two minutes:\n%s", left, events, s.Worker.Tail())
		}
		time.Sleep(50 * time.Millisecond) // asking costs Redis and this machine something too
	}
	took := time.Since(begun)
	cpu, err := load.CPU(s.Worker.PID())
	if err != nil {
		return nil, err
	}
	rss, _, err := load.Memory(s.Worker.PID())
	if err != nil {
		return nil, err
	}

	var stored int
	err = s.Query(ctx, func(db *pgx.Conn) error {
		return db.QueryRow(ctx, "SELECT (SELECT count(*) FROM webhook_events) + (SELECT count(*) FROM flow_steps)").Scan(&stored)
	})
	if err != nil {
		return nil, err
	}
	if stored != events {
		return nil, fmt.Errorf("%d entries are stored of %d sent", stored, events)
	}
	x := &Worker{
		Workload: w.name, Events: int(first), PerSecond: float64(first) / took.Seconds(),
		CPU: us(cpu-cpuBefore) / float64(first), RSS: mb(rss),
	}
	x.Bars = []Bar{atLeast("≥ 10 000/s", x.PerSecond, 10000)}
	return x, nil
}

// producer appends entries to the streams, numbered as an edge does.
type producer struct {
	client *redis.Client
	keys   keyspace.Keys
	seqs   []uint64
}

func newProducer(client *redis.Client, keys keyspace.Keys) *producer {
	return &producer{client: client, keys: keys, seqs: make([]uint64, keys.Shards())}
}

// append appends so many entries, in portions.
func (p *producer) append(ctx context.Context, entries int, entry func(int) event.Entry) error {
	const portion = 500
	for sent := 0; sent < entries; {
		_, err := p.client.Pipelined(ctx, func(pipe redis.Pipeliner) error {
			for range min(portion, entries-sent) {
				e := entry(sent)
				id := sha256.Sum256([]byte(e.ID))
				shard := p.keys.DigestShard(id[:])
				p.seqs[shard]++
				e.Account, e.Time, e.Source, e.Seq = "default", time.Now(), "bench", p.seqs[shard]
				pipe.XAdd(ctx, &redis.XAddArgs{Stream: p.keys.Events(shard), Values: e.Values()})
				sent++
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// webhookEntry is a webhook with that body.
func webhookEntry(body []byte) event.Entry {
	sum := sha256.Sum256(body)
	return event.Entry{Kind: event.KindWebhook, ID: hex.EncodeToString(sum[:]), Body: body}
}
