package ingest

import (
	"context"
	"errors"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/worker/internal/store"
)

// Prepare creates the partitions of today and the days ahead. Call it after
// migrating and before reading.
func (w *Writer) Prepare(ctx context.Context) error {
	return store.CreatePartitions(ctx, w.pool, time.Now())
}

// housekeepWithin bounds one round of housekeeping: a server that went without a
// word is noticed by then.
const housekeepWithin = 30 * time.Minute

// Maintain looks for gaps in the sources' numbers, creates partitions ahead,
// drops those that are old and purges old dedup keys, until ctx ends. Any number
// of workers may run it.
func (w *Writer) Maintain(ctx context.Context) error {
	ripe := make(ripening)
	gaps, hourly := time.NewTicker(w.config.GapEvery), time.NewTicker(time.Hour)
	defer gaps.Stop()
	defer hourly.Stop()
	w.housekeep(ctx)
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-gaps.C:
			w.lookForGaps(ctx, ripe)
		case <-hourly.C:
			w.housekeep(ctx)
		}
	}
}

// lookForGaps only warns. It is bounded: a server that went without a word is
// noticed by the next look, not when TCP gives up.
func (w *Writer) lookForGaps(ctx context.Context, ripe ripening) {
	if w.config.Oldest == nil {
		return
	}
	bounded, cancel := context.WithTimeout(ctx, writeTimeout)
	defer cancel()
	if err := w.findGaps(bounded, ripe, time.Now()); err != nil && ctx.Err() == nil {
		w.config.Log.Warn("looking for gaps failed, trying again", zap.Error(err))
	}
}

// housekeep only warns: nothing is lost while it fails. Rows without a partition
// of their own go to the default one.
func (w *Writer) housekeep(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, housekeepWithin)
	defer cancel()
	warn := func(what string, err error) {
		if err != nil && !errors.Is(ctx.Err(), context.Canceled) {
			w.config.Log.Warn(what+" failed, trying again in an hour", zap.Error(err))
		}
	}
	warn("creating partitions", store.CreatePartitions(ctx, w.pool, time.Now()))
	warn("moving rows to the partitions of their days", store.EmptyDefaults(ctx, w.pool, time.Now()))
	warn("purging dedup keys", store.PurgeKeys(ctx, w.pool))
	warn("dropping old partitions", store.DropPartitions(ctx, w.pool, time.Now(), w.config.Retention, w.dropped))
	used, err := store.DefaultUsed(ctx, w.pool, time.Now())
	warn("looking into the default partitions", err)
	for table, is := range used {
		value := 0.0
		if is {
			value = 1
		}
		w.metrics.defaultRows.WithLabelValues(table).Set(value)
	}
}

func (w *Writer) dropped(d store.Dropped) {
	if d.Rows > 0 {
		w.config.Log.Info("old rows deleted from a default partition", zap.String("table", d.Table), zap.Int64("rows", d.Rows))
		return
	}
	w.metrics.dropped.WithLabelValues(d.Table).Inc()
	w.config.Log.Info("old partition dropped", zap.String("table", d.Table), zap.String("partition", d.Partition))
}
