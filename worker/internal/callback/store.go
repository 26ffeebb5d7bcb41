package callback

import (
	"context"
	"errors"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/worker/internal/store"
)

const (
	// Finished attempts are stored together: at most batchSize, or those that
	// end within batchWait of the first. One commit then serves many; the
	// window in which a crash repeats a delivery grows by no more than this.
	batchSize = 256
	batchWait = 5 * time.Millisecond

	// racesLost against others in a row are a fault of the batch.
	racesLost = 8

	// flushFor is how long storing goes on after the worker was told to stop
	// and the last attempt ended.
	flushFor = 4 * time.Second
)

// store writes finished attempts until done is closed and empty.
func (d *Deliverer) store(ctx context.Context) {
	for first := range d.done {
		batch := d.gather(first)
		d.storeBatch(ctx, batch)
		for _, o := range batch {
			d.forget(o.Delivery)
		}
		// A place is free, here and in the endpoint's limit.
		d.Nudge()
	}
}

func (d *Deliverer) gather(first outcome) []outcome {
	batch := append(make([]outcome, 0, batchSize), first)
	timer := time.NewTimer(batchWait)
	defer timer.Stop()
	for len(batch) < batchSize {
		select {
		case o, ok := <-d.done:
			if !ok {
				return batch
			}
			batch = append(batch, o)
		case <-timer.C:
			return batch
		}
	}
	return batch
}

// storeBatch tries until the batch is stored. While the database is away the
// results wait here: they are the only record of what receivers took. It gives
// up when the worker has stopped and flushFor is over; the leases then run out
// and the deliveries are sent again.
func (d *Deliverer) storeBatch(ctx context.Context, batch []outcome) {
	wait := 50 * time.Millisecond
	var giveUp time.Time
	for races := 0; ; {
		try, cancel := context.WithTimeout(context.WithoutCancel(ctx), flushFor)
		stored, err := d.queue.complete(try, batch)
		cancel()
		if err == nil {
			if lost := len(batch) - stored.attempts; lost > 0 {
				d.metrics.lost.Add(float64(lost))
				d.log.Warn("results came after their leases were lost and changed nothing", zap.Int("deliveries", lost))
			}
			for state, n := range stored.finished {
				d.metrics.finished.WithLabelValues(state).Add(float64(n))
			}
			for _, e := range stored.disabled {
				d.metrics.disabled.Inc()
				d.log.Error("endpoint disabled: its deliveries wait until it is enabled again",
					zap.String("endpoint", e.name), zap.Stringer("endpoint_id", e.ID), zap.String("reason", e.reason))
			}
			return
		}
		fault := store.FaultOf(err)
		if fault == store.FaultRace {
			races++
		}
		if fault == store.FaultData || races > racesLost {
			d.storeEach(ctx, batch, err)
			return
		}
		if ctx.Err() != nil {
			if giveUp.IsZero() {
				giveUp = time.Now().Add(flushFor)
			}
			if time.Now().After(giveUp) {
				d.log.Error("attempts could not be stored before the stop: their deliveries are sent again once the leases run out",
					zap.Int("attempts", len(batch)), zap.Error(err))
				return
			}
		}
		d.log.Warn("cannot store attempts", zap.Int("attempts", len(batch)), zap.Error(err), zap.Duration("next_try_in", wait))
		time.Sleep(wait)
		wait = min(2*wait, time.Second)
	}
}

// storeEach keeps one result that the database refuses from holding up its
// neighbours. Such a result is given up: its lease runs out.
func (d *Deliverer) storeEach(ctx context.Context, batch []outcome, err error) {
	if len(batch) == 1 {
		d.log.Error("an attempt cannot be stored: its delivery is sent again once the lease runs out",
			zap.Stringer("delivery", batch[0].ID), zap.Error(err))
		return
	}
	for _, o := range batch {
		d.storeBatch(ctx, []outcome{o})
	}
}

// keep renews the leases of what is held, frees what dead workers held, and
// reads the gauges.
func (d *Deliverer) keep(ctx context.Context) {
	heartbeat, sweep, gauges := time.NewTicker(heartbeatEvery), time.NewTicker(sweepEvery), time.NewTicker(gaugesEvery)
	defer heartbeat.Stop()
	defer sweep.Stop()
	defer gauges.Stop()
	d.sweep(ctx)
	d.gauges(ctx)
	for {
		select {
		case <-ctx.Done():
			return
		case <-heartbeat.C:
			d.heartbeat(ctx)
		case <-sweep.C:
			d.sweep(ctx)
		case <-gauges.C:
			d.gauges(ctx)
		}
	}
}

// heartbeat renews the leases. A delivery that is not ours any more may be in
// another worker's hands: its attempt here is ended.
func (d *Deliverer) heartbeat(ctx context.Context) {
	held := d.holdings()
	if len(held) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	lost, err := d.queue.renew(ctx, held)
	if err != nil {
		if ctx.Err() == nil || errors.Is(ctx.Err(), context.DeadlineExceeded) {
			d.log.Warn("cannot renew leases", zap.Error(err))
		}
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, delivery := range lost {
		// One that was stored since holdings was called is gone from held.
		if h, ok := d.held[delivery.ID]; ok && h.Lease == delivery.Lease && h.cancel != nil {
			h.cancel()
		}
	}
}

func (d *Deliverer) sweep(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	expired, err := d.queue.sweep(ctx, d.holdings())
	if err != nil {
		return // the claim loop says that the database is away
	}
	if expired > 0 {
		d.metrics.expired.Add(float64(expired))
		d.log.Warn("leases of a worker that died ran out: its deliveries are due again", zap.Int64("deliveries", expired))
		d.Nudge()
	}
}

func (d *Deliverer) gauges(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	// Fails open: gauges that are a little old do no harm.
	if err := d.metrics.refresh(ctx, d.queue.pool); err != nil {
		d.log.Debug("cannot read the gauges of deliveries", zap.Error(err))
	}
}
