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

	if err := fill(ctx, client, keys, events); err != nil {
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
	x.Bars = []Bar{atLeast("≥ 8 000/s", x.PerSecond, 8000)}
	return x, nil
}

// fill appends events webhooks to the streams, numbered as an edge does.
func fill(ctx context.Context, client *redis.Client, keys keyspace.Keys, events int) error {
	seqs := make([]uint64, keys.Shards())
	const perPipeline = 500
	for sent := 0; sent < events; {
		_, err := client.Pipelined(ctx, func(p redis.Pipeliner) error {
			for range min(perPipeline, events-sent) {
				body := finishedForm(sent)
				id := sha256.Sum256(body)
				shard := keys.DigestShard(id[:])
				seqs[shard]++
				p.XAdd(ctx, &redis.XAddArgs{Stream: keys.Events(shard), Values: event.Entry{
					Kind: event.KindWebhook, Account: "default", ID: hex.EncodeToString(id[:]),
					Time: time.Now(), Source: "bench", Seq: seqs[shard], Body: body,
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
