package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
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

// worker measures the worker on servers of its own, with nothing pinned: it and
// Postgres share the machine.
func worker(ctx context.Context, b build, events int) (_ *Worker, err error) {
	fmt.Fprintln(os.Stderr, "worker: webhooks from stream to commit")
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
	return intake(ctx, s, events)
}

// intake measures the worker from stream to commit: the streams are filled
// while no worker runs, then one is started and watched until they are empty.
// Each entry is a webhook of its own with one finished form, the costliest kind:
// it becomes an event, a message, a contact and an answer.
func intake(ctx context.Context, s *site.Site, events int) (*Worker, error) {
	options, err := redis.ParseURL(s.RedisURL)
	if err != nil {
		return nil, err
	}
	client := redis.NewClient(options)
	defer client.Close()
	keys := keyspace.New(s.Prefix, 0)

	err = newProducer(client, keys).append(ctx, events, func(i int) []byte { return finishedForm(i, "") })
	if err != nil {
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
		time.Sleep(5 * time.Millisecond)
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
		return db.QueryRow(ctx, "select count(*) from flow_responses").Scan(&stored)
	})
	if err != nil {
		return nil, err
	}
	if stored != events {
		return nil, fmt.Errorf("%d answers are stored of %d sent", stored, events)
	}
	x := &Worker{
		Webhooks: int(first), PerSecond: float64(first) / took.Seconds(),
		CPU: us(cpu-cpuBefore) / float64(first), RSS: mb(rss),
	}
	x.Bars = []Bar{atLeast("≥ 10 000/s", x.PerSecond, 10000)}
	return x, nil
}

// producer appends webhooks to the streams, numbered as an edge does.
type producer struct {
	client *redis.Client
	keys   keyspace.Keys
	seqs   []uint64
}

func newProducer(client *redis.Client, keys keyspace.Keys) *producer {
	return &producer{client: client, keys: keys, seqs: make([]uint64, keys.Shards())}
}

// append appends so many webhooks, in portions.
func (p *producer) append(ctx context.Context, webhooks int, body func(int) []byte) error {
	const portion = 500
	for sent := 0; sent < webhooks; {
		_, err := p.client.Pipelined(ctx, func(pipe redis.Pipeliner) error {
			for range min(portion, webhooks-sent) {
				raw := body(sent)
				id := sha256.Sum256(raw)
				shard := p.keys.DigestShard(id[:])
				p.seqs[shard]++
				pipe.XAdd(ctx, &redis.XAddArgs{Stream: p.keys.Events(shard), Values: event.Entry{
					Kind: event.KindWebhook, Account: "default", ID: hex.EncodeToString(id[:]),
					Time: time.Now(), Source: "bench", Seq: p.seqs[shard], Body: raw,
				}.Values()})
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
