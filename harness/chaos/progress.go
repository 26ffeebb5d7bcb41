package chaos

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

// position is the number of the last entry that the producer has tried to append
// to each shard.
type position []uint64

// UnderLoad returns when the workers are storing what the producer appends, on
// every shard.
func (s *Scene) UnderLoad(ctx context.Context) error {
	_, err := s.Beyond(ctx, time.Minute, s.Producer.Position())
	return err
}

// Beyond returns when on every shard, or on every one of these, an entry is
// committed that was appended after a position, and is how long that took. The
// slowest shard counts, and what a worker had read before does not: from is taken
// once the fault is there.
func (s *Scene) Beyond(ctx context.Context, patience time.Duration, from position, shards ...int32) (time.Duration, error) {
	if len(shards) == 0 {
		for shard := range from {
			shards = append(shards, int32(shard))
		}
	}
	return until(ctx, patience, "every shard commits what is appended", func(ctx context.Context) error {
		rows, err := s.db.Query(ctx, "SELECT shard, upper(seen) - 1 FROM stream_sources WHERE src = $1 AND NOT isempty(seen)", s.Producer.source)
		if err != nil {
			return err
		}
		seen := make(position, len(from))
		var shard int32
		var last uint64
		if _, err := pgx.ForEachRow(rows, []any{&shard, &last}, func() error { seen[shard] = last; return nil }); err != nil {
			return err
		}
		var behind []int32
		for _, shard := range shards {
			if seen[shard] <= from[shard] {
				behind = append(behind, shard)
			}
		}
		if len(behind) > 0 {
			return fmt.Errorf("nothing new yet of shards %v", behind)
		}
		return nil
	})
}

// resumed measures how long it takes until every shard commits what was appended
// after a position.
func (s *Scene) resumed(ctx context.Context, from position) error {
	took, err := s.Beyond(ctx, time.Minute, from)
	if err == nil {
		s.Recovered(took)
	}
	return err
}

// arrived is how many numbers of entries are committed as seen.
func (s *Scene) arrived(ctx context.Context) (int64, error) {
	return s.Number(ctx, `SELECT coalesce(sum(upper(r) - lower(r)), 0)::bigint FROM stream_sources, unnest(seen) AS r`)
}
