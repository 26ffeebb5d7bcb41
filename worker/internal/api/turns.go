package api

import (
	"context"
	"sync/atomic"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"
)

const (
	// checksAtOnce is one: to check a flow of 10 MiB may take more than 100 MiB of
	// memory and a processor for a second.
	checksAtOnce = 1

	// largeAtOnce is how many large bodies are read and worked on at a time: each
	// takes some ten times its size.
	largeAtOnce = 2

	// largeBody is the size in bytes from which a body is large.
	largeBody = 1 << 20
)

// turns lets a few in at a time.
type turns struct {
	places  chan struct{}
	waiting atomic.Int64
}

func newTurns(places int) *turns { return &turns{places: make(chan struct{}, places)} }

// take waits for a place; the caller gives it back. When ctx ends first it is an
// error that says so to the client.
func (t *turns) take(ctx context.Context) (giveBack func(), err error) {
	t.waiting.Add(1)
	defer t.waiting.Add(-1)
	select {
	case t.places <- struct{}{}:
		return func() { <-t.places }, nil
	case <-ctx.Done():
		return nil, unavailable("Too many large flows are being written or checked at this moment: try again soon")
	}
}

// oneLargeBody makes large bodies, and those of unknown size, wait for their turn
// before they are read.
func (a *api) oneLargeBody(ctx huma.Context, next func(huma.Context)) {
	r, w := humago.Unwrap(ctx)
	if r.ContentLength >= 0 && r.ContentLength < largeBody {
		next(ctx)
		return
	}
	wait, cancel := context.WithTimeout(r.Context(), a.answerWithin)
	defer cancel()
	giveBack, err := a.large.take(wait)
	if err != nil {
		w.Header().Set("Connection", "close") // instead of reading what nobody wants
		unavailable("%s", err.Error()).write(w)
		return
	}
	defer giveBack()
	next(ctx)
}
