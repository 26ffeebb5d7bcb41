package chaos

import (
	"context"
	"errors"
	"fmt"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/redis/go-redis/v9"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/keyspace"
)

func redisFaults() []Fault {
	return []Fault{
		{
			Number: 10, Name: "Redis killed, append-only file at every write", Interrupted: true, Bound: 2 * time.Second,
			Promise: "every acknowledged entry is there, the consumer groups too; commits again within 2 s of its being ready",
			Run:     redisKilled,
		},
		{
			Number: 11, Name: "Redis comes back empty", Interrupted: true, Bound: 3 * time.Second,
			Promise: "the worker lives and makes its groups again at 0; what was lost is reported by source and number, exactly (the short form ages the mark by SQL)",
			Run:     redisEmptied,
		},
		{
			Number: 12, Name: "FLUSHALL, DEL, XGROUP DESTROY under a blocked read", Bound: 2 * time.Second,
			Promise: "reads on within 2 s; at most one error line in 5 s",
			Run:     groupsDestroyed,
		},
		{
			Number: 17, Name: "XTRIM of what is read and not stored", Failpoints: true, Bound: 0,
			Promise: "stream_entries_lost_total is the exact number",
			Run:     streamTrimmed,
		},
	}
}

func redisKilled(ctx context.Context, s *Scene) error {
	w, err := s.StartWorker(ctx, "one")
	if err != nil {
		return err
	}
	s.Producer.Start(s.Rate())
	for range Pick(s, 2, 10) {
		if err := s.UnderLoad(ctx); err != nil {
			return err
		}
		if err := s.Stack.Redis.Kill(); err != nil {
			return err
		}
		from := s.Producer.Position()
		if err := pause(ctx, Pick(s, 500*time.Millisecond, 5*time.Second)); err != nil {
			return err
		}
		if err := s.Stack.Redis.Restart(ctx); err != nil {
			return err
		}
		if err := s.resumed(ctx, from); err != nil {
			return err
		}
	}
	created, err := w.Metric(ctx, "stream_group_recreated_total")
	if err != nil {
		return err
	}
	if created != 0 {
		s.Miss("%g consumer groups had to be created again", created)
	}
	return s.noDead(ctx)
}

func redisEmptied(ctx context.Context, s *Scene) error {
	s.Lossy, s.Producer.unique = true, true
	w, err := s.StartWorker(ctx, "one")
	if err != nil {
		return err
	}
	if err := s.Producer.Add(ctx, Pick(s, 500, 20_000)); err != nil {
		return err
	}
	if _, err := s.ReadUp(ctx, time.Minute); err != nil {
		return err
	}
	// The worker is held still, so that what comes now is acknowledged by Redis
	// and by nobody else.
	if err := w.Process.Signal(syscall.SIGSTOP); err != nil {
		return err
	}
	if err := s.Producer.Add(ctx, Pick(s, 200, 2000)); err != nil {
		return err
	}
	if err := errors.Join(s.Stack.Redis.Kill(), s.Stack.Redis.RestartEmpty(ctx), w.Process.Signal(syscall.SIGCONT)); err != nil {
		return err
	}
	back := time.Now()
	from := s.Producer.Position()
	s.Producer.Start(s.Rate())
	if err := s.resumed(ctx, from); err != nil {
		return err
	}
	s.Note("commits again %s after Redis was back, empty", duration(time.Since(back)))
	if err := pause(ctx, Pick(s, time.Second, 10*time.Second)); err != nil {
		return err
	}
	if err := s.Producer.Finish(ctx); err != nil {
		return err
	}
	if _, err := s.ReadUp(ctx, s.Patience); err != nil {
		return err
	}
	if created, err := w.Metric(ctx, "stream_group_recreated_total"); err != nil {
		return err
	} else if created == 0 {
		s.Miss("no consumer group counts as created again")
	}
	return s.gapsReported(ctx, w)
}

// gapsReported waits for the gap detector and holds its report against what the
// producer knows to be lost.
func (s *Scene) gapsReported(ctx context.Context, w *Worker) error {
	if s.Short {
		// A worker looks at a mark for two minutes; a new one goes by the mark's age.
		if err := w.Stop(25 * time.Second); err != nil {
			return err
		}
		if err := s.Exec(ctx, "UPDATE stream_sources SET marked_at = marked_at - interval '3 minutes'"); err != nil {
			return err
		}
		if err := w.Start(ctx); err != nil {
			return err
		}
	}
	began := time.Now()
	_, err := until(ctx, 4*time.Minute, "the gaps are reported", func(ctx context.Context) error {
		missing, err := s.Number(ctx, missingNumbers)
		if err != nil {
			return err
		}
		reported, err := s.Number(ctx, `SELECT coalesce(sum(upper(r) - lower(r)), 0)::bigint FROM stream_sources, unnest(lost) AS r`)
		if err == nil && (reported == 0 || reported != missing) {
			err = fmt.Errorf("%d of %d are", reported, missing)
		}
		return err
	})
	if err != nil {
		return err
	}
	inv, err := s.takeStock(ctx)
	if err != nil {
		return err
	}
	type number struct {
		shard int
		seq   uint64
	}
	lost := make(map[number]bool)
	for r := range s.lostEntries(inv) {
		lost[number{r.shard, r.seq}] = true
	}
	rows, err := s.db.Query(ctx, `SELECT shard, n FROM stream_sources, unnest(lost) AS r, generate_series(lower(r), upper(r) - 1) AS n WHERE src = $1`, s.Producer.source)
	if err != nil {
		return err
	}
	reported, wrong := 0, 0
	var n number
	if _, err := pgx.ForEachRow(rows, []any{&n.shard, &n.seq}, func() error {
		reported++
		if !lost[n] {
			wrong++
		}
		return nil
	}); err != nil {
		return err
	}
	s.Note("%d entries were lost with Redis, %d reported, after %s", len(lost), reported, duration(time.Since(began)))
	if wrong > 0 || reported != len(lost) || reported == 0 {
		s.Miss("%d entries were lost, %d are reported, %d of them wrongly", len(lost), reported, wrong)
	}
	return nil
}

func groupsDestroyed(ctx context.Context, s *Scene) error {
	w, err := s.StartWorker(ctx, "one")
	if err != nil {
		return err
	}
	began := time.Now()
	destroy := []struct {
		what string
		do   func() error
	}{
		{"FLUSHALL", func() error { return s.Redis.FlushAll(ctx).Err() }},
		{"DEL", func() error { return s.Redis.Del(ctx, s.streams()...).Err() }},
		{"XGROUP DESTROY", func() error {
			for _, stream := range s.streams() {
				if err := s.Redis.XGroupDestroy(ctx, stream, keyspace.Group).Err(); err != nil {
					return err
				}
			}
			return nil
		}},
	}
	for range Pick(s, 1, 5) {
		for _, d := range destroy {
			if err := s.Producer.Add(ctx, 200); err != nil {
				return err
			}
			// Nothing may be on the streams: FLUSHALL and DEL take it along.
			if _, err := s.ReadUp(ctx, time.Minute); err != nil {
				return err
			}
			if err := pause(ctx, 100*time.Millisecond); err != nil { // every read is blocked by then
				return err
			}
			if err := d.do(); err != nil {
				return fmt.Errorf("%s: %w", d.what, err)
			}
			var took time.Duration
			if err := s.Producer.Add(ctx, 200); err != nil {
				return err
			}
			if took, err = s.ReadUp(ctx, time.Minute); err != nil {
				return err
			}
			s.Recovered(took)
			s.Note("%s: 200 new entries were read after %s", d.what, duration(took))
		}
	}
	lines, err := w.Lines(`"level":"error"`)
	if err != nil {
		return err
	}
	if most := 1 + int(time.Since(began)/(5*time.Second)); lines > most {
		s.Miss("the worker logged %d errors, at most %d may be", lines, most)
	}
	return s.noDead(ctx)
}

func streamTrimmed(ctx context.Context, s *Scene) error {
	s.Lossy, s.Producer.unique = true, true
	w, err := s.Worker("one")
	if err != nil {
		return err
	}
	if err := s.stopAt(ctx, w, "after_read"); err != nil {
		return err
	}
	if err := w.Kill(); err != nil {
		return err
	}
	trimmed := make(map[string]bool) // by stream and id
	for _, stream := range s.streams() {
		pending, err := s.Redis.XPendingExt(ctx, &redis.XPendingExtArgs{Stream: stream, Group: keyspace.Group, Start: "-", End: "+", Count: 1000}).Result()
		if err != nil && !redis.HasErrorPrefix(err, "NOGROUP") {
			return err
		}
		if len(pending) < 2 {
			continue
		}
		keep := pending[len(pending)/2].ID
		for _, p := range pending[:len(pending)/2] {
			trimmed[stream+" "+p.ID] = true
		}
		if err := s.Redis.XTrimMinID(ctx, stream, keep).Err(); err != nil {
			return err
		}
	}
	if len(trimmed) == 0 {
		return errors.New("nothing was pending that could be trimmed")
	}
	if err := w.Start(ctx); err != nil {
		return err
	}
	if _, err := s.ReadUp(ctx, time.Minute); err != nil {
		return err
	}
	counted, err := w.Metric(ctx, "stream_entries_lost_total")
	if err != nil {
		return err
	}
	if int(counted) != len(trimmed) {
		s.Miss("%d entries were trimmed, stream_entries_lost_total says %g", len(trimmed), counted)
	}
	inv, err := s.takeStock(ctx)
	if err != nil {
		return err
	}
	for r := range s.lostEntries(inv) {
		if stream := s.Keys.Events(r.shard); !trimmed[stream+" "+r.id] {
			s.Miss("entry %s of %s was not trimmed and is lost", r.id, stream)
		}
	}
	s.Note("%d entries were trimmed and counted", len(trimmed))
	return nil
}
