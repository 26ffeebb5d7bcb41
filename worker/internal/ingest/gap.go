package ingest

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"go.uber.org/zap"
)

// ripening remembers when each mark was first seen, by this process's clock.
// Only the newest mark of a source is in the table, and under traffic it is
// always a young one; what lies below a mark is missing once that mark itself is
// old enough and every entry that was appended before it has left the streams.
type ripening map[sourceKey]mark

type mark struct {
	number int64
	since  time.Time
}

const incompleteSources = `
	SELECT src, shard, mark, extract(epoch FROM now() - marked_at)::float8 FROM stream_sources
	WHERE mark > 0 AND NOT (seen + lost) @> int8range(1, mark + 1)`

// missing numbers are those at or below the mark that neither arrived nor are
// reported yet. Reporting is part of the statement, so that of two workers one
// reports.
const reportLost = `
	WITH gap AS (
		SELECT src, shard, int8multirange(int8range(1, $3 + 1)) - seen - lost AS missing
		FROM stream_sources WHERE src = $1 AND shard = $2 FOR UPDATE)
	UPDATE stream_sources s SET lost = s.lost + gap.missing
	FROM gap WHERE s.src = gap.src AND s.shard = gap.shard AND NOT isempty(gap.missing)
	RETURNING gap.missing::text, (SELECT sum(upper(r) - lower(r)) FROM unnest(gap.missing) AS r)::bigint`

// findGaps reports numbers that a source had acknowledged, that did not arrive
// for GapAfter, and that no stream holds any more. It never cries wolf: while
// Redis cannot be asked nothing is reported.
func (w *Writer) findGaps(ctx context.Context, seen ripening, now time.Time) error {
	rows, err := w.pool.Query(ctx, incompleteSources)
	if err != nil {
		return fmt.Errorf("reading sources: %w", err)
	}
	type candidate struct {
		sourceKey
		number int64
		age    float64 // of the mark, in seconds
	}
	var all []candidate
	for rows.Next() {
		var c candidate
		if err := rows.Scan(&c.src, &c.shard, &c.number, &c.age); err != nil {
			return fmt.Errorf("reading sources: %w", err)
		}
		all = append(all, c)
	}
	if err := rows.Err(); err != nil {
		return fmt.Errorf("reading sources: %w", err)
	}
	open := make(map[sourceKey]bool, len(all))
	waiting := w.waiting()
	for _, c := range all {
		open[c.sourceKey] = true
		m, known := seen[c.sourceKey]
		if !known {
			m = mark{c.number, now.Add(-time.Duration(c.age * float64(time.Second)))}
			seen[c.sourceKey] = m
		}
		if now.Sub(m.since) < w.config.GapAfter {
			continue
		}
		if held, err := waiting(ctx, c.shard, m.since); err != nil {
			return err
		} else if held {
			continue // asked again next time
		}
		if err := w.report(ctx, c.sourceKey, m.number); err != nil {
			return err
		}
		seen[c.sourceKey] = mark{c.number, now}
	}
	for k := range seen {
		if !open[k] {
			delete(seen, k) // complete: the next mark ripens anew
		}
	}
	var losing int64
	if err := w.pool.QueryRow(ctx, "SELECT count(*) FROM stream_sources WHERE NOT isempty(lost)").Scan(&losing); err != nil {
		return fmt.Errorf("counting gaps: %w", err)
	}
	w.metrics.gaps.Set(float64(losing))
	return nil
}

// waiting says whether a shard's streams still hold an entry from before a time:
// one that nobody has read, that a slow or dead worker has in hand, or that lies
// behind large ones. Each shard is asked once; what was gone then stays gone,
// and it was committed before it went, so report, which reads afterwards, sees it.
func (w *Writer) waiting() func(ctx context.Context, shard int, before time.Time) (bool, error) {
	type answer struct {
		oldest time.Time
		some   bool
	}
	asked := make(map[int]answer)
	return func(ctx context.Context, shard int, before time.Time) (bool, error) {
		a, known := asked[shard]
		if !known {
			var err error
			if a.oldest, a.some, err = w.config.Oldest(ctx, shard); err != nil {
				return false, fmt.Errorf("asking Redis for the oldest entry of shard %d: %w", shard, err)
			}
			asked[shard] = a
		}
		return a.some && !a.oldest.After(before), nil
	}
}

func (w *Writer) report(ctx context.Context, k sourceKey, upTo int64) error {
	rows, err := w.pool.Query(ctx, reportLost, k.src, k.shard, upTo)
	if err != nil {
		return fmt.Errorf("reporting a gap: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		var ranges string
		var count int64
		if err := rows.Scan(&ranges, &count); err != nil {
			return fmt.Errorf("reporting a gap: %w", err)
		}
		w.metrics.seqLost.Add(float64(count))
		w.config.Log.Error("entries that an edge had acknowledged by Redis never arrived: they are lost",
			zap.String("src", k.src), zap.Int("shard", k.shard), zap.Int64("entries", count),
			zap.String("seq", readableRanges(ranges)))
	}
	if err := rows.Err(); err != nil {
		return fmt.Errorf("reporting a gap: %w", err)
	}
	return nil
}

// readableRanges turns Postgres' {[2,3),[5,8)} into 2, 5-7.
func readableRanges(multirange string) string {
	var all []string
	for part := range strings.SplitSeq(strings.Trim(multirange, "{}"), ",[") {
		from, to, _ := strings.Cut(strings.Trim(part, "[)"), ",")
		if end, err := strconv.ParseInt(to, 10, 64); err == nil && strconv.FormatInt(end-1, 10) != from {
			from += "-" + strconv.FormatInt(end-1, 10)
		}
		all = append(all, from)
	}
	return strings.Join(all, ", ")
}
