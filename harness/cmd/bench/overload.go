package main

import (
	"context"
	"crypto/rand"
	"fmt"
	"math"
	"net/http"
	"time"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/harness/load"
)

const (
	// overloadTimes is how many times its capacity an edge is asked for.
	overloadTimes = 2

	// pingEvery is how many requests there are for one ping among them.
	pingEvery = 50

	// overloadConnections is how many requests are under way at most. It is more
	// than an edge may have waiting, and a request that is due while all are
	// taken counts its waiting.
	overloadConnections = 1024

	// inTime is the edge's own time budget of a request: an answer that comes
	// later is none.
	inTime = 2500 * time.Millisecond

	classPing     = "ping"
	classExchange = "data_exchange"
)

// overload asks an edge for twice of what it can do, as independent users would,
// for so many seconds, and looks at how much it still does. What it can do is
// measured right before and right after.
func overload(ctx context.Context, t *target, unit int, seconds float64) (*Overload, error) {
	before, err := atCapacity(ctx, t, unit)
	if err != nil {
		return nil, err
	}
	o := &Overload{Offered: overloadTimes * before.PerSecond}
	calls, err := crowd(ctx, t, int(math.Ceil(o.Offered*seconds)))
	if err != nil {
		return nil, err
	}
	if err := t.settle(ctx, fsyncAlways); err != nil {
		return nil, err
	}
	a, err := t.counted(ctx, func() (load.Result, error) {
		return load.Open(ctx, t.address(), calls, o.Offered, overloadConnections)
	})
	if err != nil {
		return nil, err
	}
	_, highest, err := load.Memory(t.Edge.PID())
	if err != nil {
		return nil, err
	}
	after, err := atCapacity(ctx, t, unit)
	if err != nil {
		return nil, err
	}
	o.PeakMB, o.Capacity = mb(highest), (before.PerSecond+after.PerSecond)/2
	o.count(calls, a, (before.CPU+after.CPU)/2)
	return o, nil
}

// atCapacity is what the edge does when each of 32 users waits for an answer.
func atCapacity(ctx context.Context, t *target, unit int) (Run, error) {
	calls, err := exchanges(ctx, t, 2*unit)
	if err != nil {
		return Run{}, err
	}
	if err := t.settle(ctx, fsyncAlways); err != nil {
		return Run{}, err
	}
	r, err := t.measure(ctx, calls, 32)
	if err != nil {
		return Run{}, fmt.Errorf("at capacity: %w", err)
	}
	return r, nil
}

// count says what became of the calls. answerCPU is what an answer costs the
// edge at capacity, in microseconds.
func (o *Overload) count(calls []load.Call, a account, answerCPU float64) {
	answered := func(class string) load.Times {
		return a.Times(func(i int, answer load.Answer) bool {
			return answer.Err == nil && answer.Took <= inTime && (class == "" || calls[i].Class == class)
		})
	}
	all, pinged := answered(""), answered(classPing)
	for i, answer := range a.Answers {
		if calls[i].Class == classPing {
			o.Pings++
		}
		switch {
		case answer.Err == nil && answer.Took > inTime:
			o.Late++
		case answer.Err == nil:
			o.Answered++
		case answer.Status == http.StatusServiceUnavailable:
			o.Refused++
		default:
			if o.Failed++; o.Failure == "" {
				o.Failure = answer.Err.Error()
			}
		}
	}
	o.Seconds, o.Requests, o.PingsOK = a.Took.Seconds(), len(calls), len(pinged)
	o.Goodput = float64(o.Answered) / o.Seconds
	o.Share = quotient(o.Goodput, o.Capacity)
	o.P50, o.P99, o.PingP99 = us(all.Quantile(0.5)), us(all.Quantile(0.99)), us(pinged.Quantile(0.99))
	o.CPU, o.EdgeShare = us(a.cpu)/float64(o.Requests), a.cpu.Seconds()/o.Seconds
	o.OtherShare = (a.own + a.redis).Seconds() / o.Seconds
	if o.Refused > 0 {
		o.Refusal = max(0, us(a.cpu)-float64(o.Answered+o.Late)*answerCPU) / float64(o.Refused)
	}
	o.Bars = []Bar{atLeast("goodput ≥ 90 % of capacity", 100*o.Share, 90)}
}

// crowd is n users at their second step, with a ping now and then. The sessions
// are copies of one that the edge began: to begin them all would take longer than
// what is measured.
func crowd(ctx context.Context, t *target, n int) ([]load.Call, error) {
	tokens := make([]string, n)
	for i := range tokens {
		tokens[i] = rand.Text()
	}
	if err := t.copySessions(ctx, n, func(i int) string { return tokens[i] }); err != nil {
		return nil, err
	}
	return each(n, func(i int) (load.Call, error) {
		if i%pingEvery == 0 {
			call, err := t.sealed(i, []byte(pingPayload), pingAnswer)
			call.Class = classPing
			return call, err
		}
		call, err := t.exchange(i, tokens[i], 5)
		call.Class = classExchange
		return call, err
	})
}
