// Package callback hands events to the receivers that the operator named:
// signed, retried by a schedule that lives in the database, never to a private
// address unless told so.
//
// A delivery is a row. A worker claims it by a lease, makes one HTTP attempt,
// and stores the attempt and what follows from it in one transaction. A worker
// that dies between the receiver's 200 and that transaction leaves a lease
// that runs out, and the delivery is sent once more under the same webhook-id:
// delivery is at least once.
package callback

import (
	"context"
	"net/netip"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
)

// Config is what a deliverer works with.
type Config struct {
	Pool *pgxpool.Pool
	// Worker is this process's name, which no other live one has: what a killed
	// one of that name had leased is sent at once. Empty: once its leases run out.
	Worker   string
	Log      *zap.Logger
	Registry prometheus.Registerer
	// AllowNetworks are networks callbacks may reach although they are not
	// public.
	AllowNetworks []netip.Prefix
	// InFlight is the number of attempts this worker makes at the same time;
	// 0 means 256. An endpoint's own limit is in its row.
	InFlight int
	// Poll is how often the table is asked when nothing announced a delivery,
	// for those whose time has come and those of other workers; 0 means 200 ms.
	Poll time.Duration
	// Schedule replaces the schedule of the package; nil means that one.
	Schedule []time.Duration
	// Sender replaces the HTTP client made from AllowNetworks.
	Sender *Sender
	// Trace begins the span of an attempt and returns the traceparent header to
	// send; end is called with the result. nil: no spans and no header.
	Trace func(ctx context.Context, d Delivery) (traced context.Context, traceparent string, end func(Result))
}

// Deliverer claims deliveries and sends them.
type Deliverer struct {
	log      *zap.Logger
	queue    *queue
	sender   *Sender
	metrics  *metrics
	trace    func(context.Context, Delivery) (context.Context, string, func(Result))
	schedule []time.Duration
	poll     time.Duration
	inFlight int
	// stale says that leases of this name may stand that are not held.
	stale bool

	nudge chan struct{}
	done  chan outcome

	mu   sync.Mutex
	held map[uuid.UUID]heldDelivery
}

type heldDelivery struct {
	Delivery
	cancel context.CancelFunc // ends the attempt
}

// New returns a deliverer that has not begun.
func New(c Config) *Deliverer {
	d := &Deliverer{
		log: c.Log, queue: &queue{pool: c.Pool, lease: leaseFor, worker: c.Worker}, metrics: newMetrics(c.Registry),
		schedule: c.Schedule, poll: c.Poll, inFlight: c.InFlight, sender: c.Sender,
		trace: c.Trace, nudge: make(chan struct{}, 1),
		held: make(map[uuid.UUID]heldDelivery), stale: true,
	}
	if d.schedule == nil {
		d.schedule = Schedule
	}
	if d.poll <= 0 {
		d.poll = 200 * time.Millisecond
	}
	if d.inFlight <= 0 {
		d.inFlight = 256
	}
	if d.sender == nil {
		d.sender = NewSender(SenderConfig{
			AllowNetworks: c.AllowNetworks, MaxInFlight: d.inFlight, Connections: d.metrics.connection,
		})
	}
	return d
}

// Nudge says that there may be a delivery to make now. It never blocks.
func (d *Deliverer) Nudge() {
	select {
	case d.nudge <- struct{}{}:
	default:
	}
}

// Run delivers until ctx ends. Then it claims nothing more, lets the attempts
// it has begun finish, which takes at most LongestTimeout, stores them, and
// returns.
func (d *Deliverer) Run(ctx context.Context) error {
	d.done = make(chan outcome, 2*d.inFlight)
	defer d.sender.Close()

	// Storing and renewing must outlast the attempts they are for, so they
	// end in this order and not with ctx.
	var storing, keeping, attempts sync.WaitGroup
	keepCtx, stopKeeping := context.WithCancel(context.WithoutCancel(ctx))
	storing.Go(func() { d.store(ctx) })
	keeping.Go(func() { d.keep(keepCtx) })
	defer func() {
		attempts.Wait()
		close(d.done)
		storing.Wait()
		stopKeeping()
		keeping.Wait()
	}()

	retry := d.poll
	for ctx.Err() == nil {
		c, err := d.claim(ctx)
		found := c.deliveries
		switch {
		case err != nil && ctx.Err() == nil:
			// The database is away. Nothing is lost: what is due stays due.
			retry = min(2*retry, 2*time.Second)
			d.log.Warn("cannot claim deliveries", zap.Error(err), zap.Duration("next_try_in", retry))
		case len(found) > 0 && ctx.Err() != nil:
			d.giveBack(ctx, found)
		case len(found) > 0:
			retry = d.poll
			for _, delivery := range found {
				attempts.Go(func() { d.attempt(ctx, delivery) })
			}
			if 4*d.room().free >= d.inFlight {
				continue // there may be more
			}
			// A claim for a few places costs as much as one for many: the next
			// is when results have been stored.
		case len(c.gone) > 0:
			retry = d.poll
			continue // those behind them
		default:
			retry = d.poll
		}
		timer := time.NewTimer(retry)
		select {
		case <-ctx.Done():
		case <-d.nudge:
		case <-timer.C:
		}
		timer.Stop()
	}
	return nil
}

// claim takes as many deliveries as there are free places. It is not cut short
// by ctx: a claim whose commit is in doubt would hold its leases for nothing.
func (d *Deliverer) claim(ctx context.Context) (claimed, error) {
	r := d.room()
	if r.free <= 0 {
		return claimed{}, nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	if d.stale {
		// No claim is under way, so that whatever is leased and not held is nobody's.
		left, err := d.queue.reclaim(ctx, d.holdings())
		if err != nil {
			return claimed{}, err
		}
		d.stale = false
		if left > 0 {
			d.metrics.expired.Add(float64(left))
			d.log.Warn("deliveries were leased to a worker of this name that was killed, or by a claim whose answer was lost: they are due again",
				zap.Int64("deliveries", left))
		}
	}
	started := time.Now()
	c, err := d.queue.claim(ctx, r)
	if err != nil {
		d.stale = true
		return claimed{}, err
	}
	d.metrics.claimed(c, time.Since(started))
	if len(c.gone) > 0 {
		d.log.Warn("deliveries were cancelled: "+errGone, zap.Int("deliveries", len(c.gone)))
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, delivery := range c.deliveries {
		d.held[delivery.ID] = heldDelivery{Delivery: delivery}
	}
	d.metrics.inFlight.Set(float64(len(d.held)))
	return c, nil
}

func (d *Deliverer) room() room {
	d.mu.Lock()
	defer d.mu.Unlock()
	r := room{free: d.inFlight - len(d.held), held: make(map[uuid.UUID]int)}
	for _, h := range d.held {
		r.held[h.Endpoint.ID]++
	}
	return r
}

func (d *Deliverer) giveBack(ctx context.Context, claimed []Delivery) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 3*time.Second)
	defer cancel()
	if err := d.queue.release(ctx, claimed); err != nil {
		d.log.Warn("cannot give deliveries back", zap.Error(err))
	}
	d.forget(claimed...)
}

func (d *Deliverer) holdings() []Delivery {
	d.mu.Lock()
	defer d.mu.Unlock()
	all := make([]Delivery, 0, len(d.held))
	for _, h := range d.held {
		all = append(all, h.Delivery)
	}
	return all
}

func (d *Deliverer) forget(deliveries ...Delivery) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, delivery := range deliveries {
		if h, ok := d.held[delivery.ID]; ok && h.Lease == delivery.Lease {
			delete(d.held, delivery.ID)
		}
	}
	d.metrics.inFlight.Set(float64(len(d.held)))
}
