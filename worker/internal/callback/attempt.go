package callback

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/google/uuid"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// attempt makes one attempt. It outlives ctx: what has begun is finished.
func (d *Deliverer) attempt(ctx context.Context, delivery Delivery) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	d.mu.Lock()
	if h, ok := d.held[delivery.ID]; ok && h.Lease == delivery.Lease {
		h.cancel = cancel
		d.held[delivery.ID] = h
	}
	d.mu.Unlock()

	result := d.send(ctx, delivery)
	o := decide(d.schedule, delivery, result, rand.Float64()) //nolint:gosec // jitter needs no secrecy
	d.metrics.attempt(result)
	d.report(&o)
	d.done <- o
}

// errPanicked is the result of an attempt that panicked.
var errPanicked = errors.New("the attempt ended in a fault of the worker, whose log says where")

func (d *Deliverer) send(ctx context.Context, delivery Delivery) Result {
	request := delivery.Endpoint.request(delivery.EventID.String(), delivery.Body)
	request.Verbatim = delivery.event().Verbatim()
	if d.trace == nil {
		return d.sendGuarded(ctx, delivery.ID, request)
	}
	ctx, traceparent, end := d.trace(ctx, delivery)
	request.Traceparent = traceparent
	result := d.sendGuarded(ctx, delivery.ID, request)
	end(result)
	return result
}

// sendGuarded turns a panic into a failed attempt, which follows the schedule
// like any other: one delivery must not end the process, nor be sent for ever.
// The log has the kind of the panic and where it was, not its value, which may
// hold anything.
func (d *Deliverer) sendGuarded(ctx context.Context, id uuid.UUID, request Request) (result Result) {
	started := time.Now()
	defer func() {
		if r := recover(); r != nil {
			d.log.Error("an attempt panicked: please report this", zap.Stringer("delivery", id),
				zap.String("kind", fmt.Sprintf("%T", r)), zap.Stack("stack"))
			result = Result{Err: errPanicked, Tries: 1, Took: time.Since(started)}
		}
	}()
	return d.sender.Send(ctx, request)
}

// report writes the one line of an attempt: no body, no token, and of the URL
// the host only.
func (d *Deliverer) report(o *outcome) {
	level := zapcore.InfoLevel
	switch {
	case o.result.Gone(), o.state == stateDead:
		level = zapcore.ErrorLevel
	case o.state == stateDue:
		level = zapcore.WarnLevel
	}
	line := d.log.Check(level, "delivery attempted")
	if line == nil {
		return
	}
	fields := []zap.Field{
		zap.Stringer("delivery", o.ID), zap.Stringer("event", o.EventID), zap.String("type", string(o.EventType)),
		zap.String("account", o.Account), zap.String("endpoint", o.Endpoint.Name),
		zap.String("host", o.Endpoint.host()), zap.Int("attempt", o.Attempt), zap.Int("tries", o.result.Tries),
		zap.Int("status", o.result.Status), zap.String("outcome", o.result.Outcome()),
		zap.Int64("ms", o.result.Took.Milliseconds()), zap.String("state", o.state),
	}
	if o.Replay {
		fields = append(fields, zap.Bool("replay", true))
	}
	if problem := o.result.Problem(); problem != "" {
		fields = append(fields, zap.String("problem", problem))
	}
	if o.state == stateDue {
		fields = append(fields, zap.Float64("next_attempt_in", o.wait.Round(time.Millisecond).Seconds()))
	}
	line.Write(fields...)
}
