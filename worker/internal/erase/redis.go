package erase

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

// replyKept is how long the edge keeps a sealed answer under the hash of its
// request, and longer than any claim lives (package state of the edge). Nothing
// in those keys and values names a person to somebody without the phone's key.
const replyKept = 10 * time.Minute

const (
	keysAtOnce    = 500 // in one pipeline
	entriesAtOnce = 16  // of up to 3 MiB each
	// searched is how many entries of one stream are looked through for what is
	// not stored yet.
	searched = 5_000
)

// cleanRedis deletes the edge's sessions, and what names the person in the
// streams of dead entries. Unread entries stay: deleted, they would count as
// lost, and their neighbours in one entry would be.
func (e *Eraser) cleanRedis(ctx context.Context, s *subject, report *Report) error {
	c := newCounts()
	if err := e.eraseSessions(ctx, s, c); err != nil {
		return fmt.Errorf("erasing sessions in Redis: %w", err)
	}
	if err := e.eraseDeadStreams(ctx, s, c); err != nil {
		return fmt.Errorf("erasing in the dead streams: %w", err)
	}
	*report = report.with(c)
	return nil
}

func (e *Eraser) eraseSessions(ctx context.Context, s *subject, c *counts) error {
	if len(s.who.tokens) == 0 {
		return nil
	}
	flows, err := e.flows(ctx, s)
	if err != nil {
		return err
	}
	found := map[string]bool{}
	for token := range s.who.tokens {
		for flow := range flows {
			found[e.Keys.Session(e.Keys.SessionShard(s.Account, flow, token), s.Account, flow, token)] = true
		}
	}
	for part := range slices.Chunk(keys(found), keysAtOnce) {
		cmds, err := e.Redis.Pipelined(ctx, func(p redis.Pipeliner) error {
			for _, key := range part {
				if s.DryRun {
					p.Exists(ctx, key)
				} else {
					p.Del(ctx, key)
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
		for _, cmd := range cmds {
			c.add(redisSessions, cmd.(*redis.IntCmd).Val())
		}
	}
	return nil
}

// flows are the names under which the edge may keep a session of a token: those
// of stored sessions, of published flows, and of flows that were called so.
func (e *Eraser) flows(ctx context.Context, s *subject) (set, error) {
	all := set{}
	for one := range s.all {
		all.add(one.flow)
	}
	fields, err := e.Redis.HKeys(ctx, e.Keys.Index()).Result()
	if err != nil {
		return nil, err
	}
	for _, field := range fields {
		if flow, ok := strings.CutPrefix(field, s.Account+"/"); ok {
			all.add(flow)
		}
	}
	rows, err := e.Pool.Query(ctx, `SELECT name FROM flows WHERE account = $1 UNION SELECT name FROM flow_former_names WHERE account = $1`, s.Account)
	if err != nil {
		return nil, err
	}
	for rows.Next() {
		var name string
		if err := rows.Scan(&name); err != nil {
			return nil, err
		}
		all.add(name)
	}
	return all, rows.Err()
}

func (e *Eraser) eraseDeadStreams(ctx context.Context, s *subject, c *counts) error {
	needles := s.who.needles()
	for shard := range e.Keys.Shards() {
		key := e.Keys.DeadEvents(shard)
		if _, err := e.each(ctx, key, 0, func(m redis.XMessage) error {
			// Its row in dead_entries is the record, and holds what is others'.
			if v, _ := s.judge(fieldsOf(m), needles); v == others {
				return nil
			}
			c.add(redisDeadEntries, 1)
			if s.DryRun {
				return nil
			}
			return e.Redis.XDel(ctx, key, m.ID).Err()
		}); err != nil {
			return err
		}
	}
	return nil
}

// each visits the entries of a stream, at most limit if that is positive; all
// says whether that was all of them.
func (e *Eraser) each(ctx context.Context, key string, limit int, visit func(redis.XMessage) error) (all bool, err error) {
	from := "-"
	for n := 0; limit <= 0 || n < limit; {
		entries, err := e.Redis.XRangeN(ctx, key, from, "+", entriesAtOnce).Result()
		if err != nil {
			return false, err
		}
		for _, m := range entries {
			if err := visit(m); err != nil {
				return false, err
			}
		}
		if len(entries) < entriesAtOnce {
			return true, nil
		}
		from = "(" + entries[len(entries)-1].ID
		n += len(entries)
	}
	return false, nil
}

func fieldsOf(m redis.XMessage) map[string][]byte {
	fields := make(map[string][]byte, len(m.Values))
	for name, value := range m.Values {
		if text, ok := value.(string); ok {
			fields[name] = []byte(text)
		}
	}
	return fields
}

func (e *Eraser) streams() []string {
	var all []string
	for shard := range e.Keys.Shards() {
		all = append(all, e.Keys.Events(shard), e.Keys.LargeEvents(shard))
	}
	return all
}

// drain waits until every entry that is in the streams now has been stored,
// which is when it is deleted. drained is false when they are not by then.
func (e *Eraser) drain(ctx context.Context, wait time.Duration) (drained bool, err error) {
	deadline := time.Now().Add(wait)
	newest := map[string]string{} // by stream
	for _, key := range e.streams() {
		last, err := e.Redis.XRevRangeN(ctx, key, "+", "-", 1).Result()
		if err != nil {
			return false, fmt.Errorf("reading a stream: %w", err)
		}
		if len(last) > 0 {
			newest[key] = last[0].ID
		}
	}
	for {
		for key, id := range newest {
			first, err := e.Redis.XRangeN(ctx, key, "-", "+", 1).Result()
			if err != nil {
				return false, fmt.Errorf("reading a stream: %w", err)
			}
			if len(first) == 0 || compareIDs(first[0].ID, id) > 0 {
				delete(newest, key)
			}
		}
		left := time.Until(deadline)
		if len(newest) == 0 || left <= 0 {
			return len(newest) == 0, nil
		}
		timer := time.NewTimer(min(e.pause, left))
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return false, errors.Join(errors.New("stopped while waiting for the streams"), ctx.Err())
		}
	}
}

// compareIDs compares ids of a stream: milliseconds, a dash, a number.
func compareIDs(a, b string) int {
	parts := func(id string) (ms, n uint64) {
		left, right, _ := strings.Cut(id, "-")
		ms, _ = strconv.ParseUint(left, 10, 64)
		n, _ = strconv.ParseUint(right, 10, 64)
		return ms, n
	}
	ams, an := parts(a)
	bms, bn := parts(b)
	return cmp.Or(cmp.Compare(ams, bms), cmp.Compare(an, bn))
}

// unstored counts the entries in the streams that name the person; all says
// whether all of them were looked through.
func (e *Eraser) unstored(ctx context.Context, s *subject) (n int64, all bool, err error) {
	needles := s.who.needles()
	all = true
	for _, key := range e.streams() {
		whole, err := e.each(ctx, key, searched, func(m redis.XMessage) error {
			if v, _ := s.judge(fieldsOf(m), needles); v != others {
				n++
			}
			return nil
		})
		if err != nil {
			return 0, false, fmt.Errorf("reading a stream: %w", err)
		}
		all = all && whole
	}
	return n, all, nil
}
