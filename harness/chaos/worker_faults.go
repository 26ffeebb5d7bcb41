package chaos

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/redis/go-redis/v9"
)

func workerFaults() []Fault {
	return []Fault{
		{
			Number: 16, Name: "poisoned entries under load", Bound: 15 * time.Second,
			Promise: "what cannot be read is in the dead stream and in dead_entries within 15 s, once; neighbours and odd but readable bodies are stored",
			Run:     poison,
		},
		{
			Number: 18, Name: "two workers under one name", Bound: 0,
			Promise: "the second takes another name by an advisory lock; 0/0, no duplicate POST",
			Run:     sameName,
		},
		{
			Number: 19, Name: "the worker's clock jumps by an hour, both ways", Bound: 0,
			Promise:  "leases go by Postgres' clock: nothing is sent early or twice; 0/0",
			LongOnly: "a worker with a clock that jumps is compiled anew, standard library and all",
			Run:      clockJumps,
		},
		{
			Number: 22, Name: "SIGTERM under load", Bound: 25 * time.Second, Strict: true,
			Promise: "ends with status 0 within 25 s; 0 lost, no duplicate POST, no lease left",
			Run:     terminated,
		},
		{
			Number: 23, Name: "two workers start on an empty database at once", Bound: 30 * time.Second,
			Promise: "each migration is applied once; both are ready within 30 s",
			Run:     migratedTwice,
		},
	}
}

// poisons are entries that no edge writes, as fields in order; those with a
// reason are given up.
func poisons(s *Scene, n int) []struct {
	name   string
	fields []any
	dead   bool
} {
	now := strconv.FormatInt(time.Now().UnixMilli(), 10)
	made := 0
	entry := func(change map[string]any) []any {
		made++
		fields := []any{}
		for _, f := range []struct {
			name  string
			value any
		}{
			{"v", "1"}, {"kind", "step"}, {"account", account}, {"id", fmt.Sprintf("poison:%d:%d", n, made)}, {"ts", now},
			{"src", s.Producer.source + "-poison"}, {"seq", strconv.Itoa(1 + n)}, {"body", `{"flow":"chaos","action":"INIT","outcome":"next","ms":1}`},
		} {
			if value, ok := change[f.name]; ok {
				if value == nil {
					continue
				}
				f.value = value
			}
			fields = append(fields, f.name, f.value)
		}
		return fields
	}
	type poison = struct {
		name   string
		fields []any
		dead   bool
	}
	return []poison{
		{"no body", entry(map[string]any{"body": nil}), true},
		{"no kind", entry(map[string]any{"kind": nil}), true},
		{"a step that is no JSON", entry(map[string]any{"body": "{not json"}), true},
		{"a step of binary data", entry(map[string]any{"body": "\x81\xa1a\x01\x00"}), true},
		{"a time after the year 9999", entry(map[string]any{"ts": "999999999999999"}), true},
		{"another version", entry(map[string]any{"v": "9"}), true},
		{"fields that mean nothing", []any{"hello", "world"}, true},
		{"a NUL in a text", entry(map[string]any{"kind": "client_error", "body": `{"flow":"chaos","action":"error","outcome":"error","from":"poison","error_message":"a\u0000b","ms":1}`}), false},
		{"a time two days ahead", entry(map[string]any{"kind": "client_error", "ts": strconv.FormatInt(time.Now().Add(48*time.Hour).UnixMilli(), 10),
			"body": `{"flow":"chaos","action":"error","outcome":"error","from":"poison","ms":1}`}), false},
		{"a webhook of 5 MB that is no JSON", entry(map[string]any{"kind": "webhook", "body": strings.Repeat("x", 5<<20)}), false},
	}
}

func poison(ctx context.Context, s *Scene) error {
	if _, err := s.StartWorker(ctx, "one"); err != nil {
		return err
	}
	s.Producer.Start(s.Rate())
	if err := s.UnderLoad(ctx); err != nil {
		return err
	}
	dead, odd := map[string]bool{}, 0
	rounds := Pick(s, 2, 20)
	for n := range rounds {
		for i, p := range poisons(s, n) {
			shard := (n + i) % s.Keys.Shards()
			id, err := s.Redis.XAdd(ctx, &redis.XAddArgs{Stream: s.Keys.Events(shard), Values: p.fields}).Result()
			if err != nil {
				return fmt.Errorf("%s: %w", p.name, err)
			}
			if p.dead {
				dead[s.Keys.Events(shard)+" "+id] = true
			} else {
				odd++
			}
		}
	}
	took, err := until(ctx, time.Minute, "what is poisoned is given up", func(ctx context.Context) error {
		rows, err := s.Number(ctx, "SELECT count(*) FROM dead_entries")
		if err != nil {
			return err
		}
		buried, err := s.buried(ctx)
		if err == nil && (rows < int64(len(dead)) || buried < int64(len(dead))) {
			err = fmt.Errorf("of %d entries %d are in dead_entries and %d in the dead streams", len(dead), rows, buried)
		}
		return err
	})
	if err != nil {
		return err
	}
	s.Recovered(took)
	if err := s.UnderLoad(ctx); err != nil {
		return fmt.Errorf("after the poison: %w", err)
	}
	s.Producer.Pause()
	if _, err := s.ReadUp(ctx, s.Patience); err != nil {
		return err
	}
	rows, err := s.db.Query(ctx, "SELECT stream || ' ' || stream_id FROM dead_entries")
	if err != nil {
		return err
	}
	defer rows.Close()
	given := 0
	for rows.Next() {
		var id string
		if err := rows.Scan(&id); err != nil {
			return err
		}
		if given++; !dead[id] {
			s.Miss("entry %s was given up and is not poisoned", id)
		}
	}
	if err := rows.Err(); err != nil {
		return err
	}
	buried, err := s.buried(ctx)
	if err != nil {
		return err
	}
	if given != len(dead) || buried != int64(len(dead)) {
		s.Miss("%d entries are poisoned: %d are in dead_entries, %d in the dead streams", len(dead), given, buried)
	}
	stored, err := s.Number(ctx, `SELECT (SELECT count(*) FROM flow_steps WHERE from_screen = 'poison') + (SELECT count(*) FROM webhook_events WHERE body = convert_to(repeat('x', $1), 'UTF8'))`, 5<<20)
	if err != nil {
		return err
	}
	if stored != int64(odd) {
		s.Miss("%d entries are odd and can be stored, %d are", odd, stored)
	}
	s.Note("%d poisoned entries are given up, %d odd ones are stored", given, stored)
	// They are nobody's: the judge knows only what the producer appended.
	for _, sql := range []string{"DELETE FROM flow_steps WHERE from_screen = 'poison'", "DELETE FROM webhook_events WHERE length(body) = 5 << 20",
		"DELETE FROM stream_sources WHERE src LIKE '%-poison'"} {
		if err := s.Exec(ctx, sql); err != nil {
			return err
		}
	}
	return nil
}

func (s *Scene) buried(ctx context.Context) (total int64, err error) {
	for shard := range s.Keys.Shards() {
		n, err := s.Redis.XLen(ctx, s.Keys.DeadEvents(shard)).Result()
		if err != nil {
			return 0, err
		}
		total += n
	}
	return total, nil
}

func sameName(ctx context.Context, s *Scene) error {
	var workers []*Worker
	for range 2 {
		w, err := s.Worker("twin")
		if err != nil {
			return err
		}
		workers = append(workers, w)
	}
	if err := startTogether(ctx, workers); err != nil {
		return err
	}
	s.Producer.Start(s.Rate())
	if err := s.UnderLoad(ctx); err != nil {
		return err
	}
	if err := pause(ctx, Pick(s, 2*time.Second, 30*time.Second)); err != nil {
		return err
	}
	first, second := 0, 0
	for _, w := range workers {
		plain, err := w.Lines(`"msg":"worker is serving"`, `"worker":"twin"`)
		if err != nil {
			return err
		}
		other, err := w.Lines(`"msg":"worker is serving"`, `"worker":"twin-2"`)
		if err != nil {
			return err
		}
		first, second = first+plain, second+other
	}
	if first != 1 || second != 1 {
		s.Miss("%d workers serve as twin and %d as twin-2, want one each", first, second)
	}
	return nil
}

// startTogether starts workers at the same moment and returns when all are ready.
func startTogether(ctx context.Context, workers []*Worker) error {
	errs := make([]error, len(workers))
	var running sync.WaitGroup
	for i, w := range workers {
		running.Go(func() { errs[i] = w.Start(ctx) })
	}
	running.Wait()
	return errors.Join(errs...)
}

func terminated(ctx context.Context, s *Scene) error {
	w, err := s.StartWorker(ctx, "one")
	if err != nil {
		return err
	}
	s.Producer.Start(s.Rate())
	for range Pick(s, 3, 20) {
		if err := s.UnderLoad(ctx); err != nil {
			return err
		}
		if err := pause(ctx, Pick(s, 300*time.Millisecond, 3*time.Second)); err != nil {
			return err
		}
		if err := w.Process.Signal(syscall.SIGTERM); err != nil {
			return err
		}
		began := time.Now()
		select {
		case <-w.Process.Done():
		case <-time.After(time.Minute):
			return errors.New("the worker still runs a minute after SIGTERM")
		}
		s.Recovered(time.Since(began))
		if err := w.Process.Wait(); err != nil {
			s.Miss("the worker ended with %v", err)
		}
		leased, err := s.Number(ctx, "SELECT count(*) FROM deliveries WHERE state = 'leased'")
		if err != nil {
			return err
		}
		if leased > 0 {
			s.Miss("%d leases are left by a worker that ended in order", leased)
		}
		if err := w.Start(ctx); err != nil {
			return err
		}
	}
	return nil
}

func migratedTwice(ctx context.Context, s *Scene) error {
	var workers []*Worker
	for _, name := range []string{"one", "two"} {
		w, err := s.Worker(name)
		if err != nil {
			return err
		}
		workers = append(workers, w)
	}
	began := time.Now()
	if err := startTogether(ctx, workers); err != nil {
		return err
	}
	s.Recovered(time.Since(began))
	applied := 0
	for _, w := range workers {
		n, err := w.Lines(`"msg":"migration applied"`)
		if err != nil {
			return err
		}
		applied += n
	}
	versions, err := s.Number(ctx, "SELECT count(*) FROM goose_db_version WHERE version_id > 0")
	if err != nil {
		return err
	}
	distinct, err := s.Number(ctx, "SELECT count(DISTINCT version_id) FROM goose_db_version WHERE version_id > 0")
	if err != nil {
		return err
	}
	if versions != distinct || int64(applied) != versions || versions == 0 {
		s.Miss("%d migrations are recorded, %d of them different, and the workers applied %d", versions, distinct, applied)
	}
	s.Note("%d migrations, applied once; both workers were ready after %s", versions, duration(time.Since(began)))
	return s.Producer.Add(ctx, Pick(s, 300, 5000))
}
