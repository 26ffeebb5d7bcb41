package load

import (
	"context"
	"sync"
	"sync/atomic"
	"time"
)

// Closed sends the calls in their order over so many connections to address
// (host:port), each connection its next call when it has judged the last answer.
// This finds how much a server can do.
//
// The error says why there is no run or why it was ended (ctx bounds all of it);
// what became of single calls is in the result.
func Closed(ctx context.Context, address string, calls []Call, connections int) (Result, error) {
	all, err := connect(ctx, address, calls, connections)
	if err != nil {
		return Result{}, err
	}
	defer disconnect(all)
	answers := make([]Answer, len(calls))
	var next atomic.Int64
	var wg sync.WaitGroup
	start := time.Now()
	for _, c := range all {
		wg.Go(func() {
			for {
				i := int(next.Add(1)) - 1
				if i >= len(calls) {
					return
				}
				if ctx.Err() != nil {
					answers[i] = Answer{Err: errNotSent}
					continue
				}
				sent := time.Now()
				status, body, err := c.exchange(ctx, calls[i].Request)
				took := time.Since(sent)
				if err == nil {
					err = calls[i].Judge(status, body)
				}
				answers[i] = Answer{Status: status, Took: took, Err: err}
			}
		})
	}
	wg.Wait()
	return Result{Took: time.Since(start), Answers: answers}, context.Cause(ctx)
}
