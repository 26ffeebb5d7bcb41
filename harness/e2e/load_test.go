package e2e

import (
	"context"
	"crypto/rand"
	"sync"
	"testing"
)

// load is users who go on completing the example flow one after another.
type load struct {
	stop   chan struct{}
	done   sync.WaitGroup
	mu     sync.Mutex
	wamids []string // whose webhook got its 200
	errs   []error
}

// startLoad begins with that many users at once.
func startLoad(t *testing.T, s installation, users int) *load {
	t.Helper()
	l := &load{stop: make(chan struct{})}
	definition := s.phone(t, "").Flow
	ctx := context.WithoutCancel(t.Context()) // a request that has begun is finished
	for range users {
		l.done.Go(func() {
			for {
				select {
				case <-l.stop:
					return
				default:
				}
				wamid, err := s.complete(ctx, s.phoneFor(definition, rand.Text()))
				l.mu.Lock()
				if err != nil {
					l.errs = append(l.errs, err)
				} else {
					l.wamids = append(l.wamids, wamid)
				}
				l.mu.Unlock()
			}
		})
	}
	return l
}

// completed is the number of conversations completed so far.
func (l *load) completed() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.wamids)
}

// end lets the conversations that have begun end, fails the test if any request
// of any of them failed, and returns the wamids that were acknowledged.
func (l *load) end(t *testing.T) []string {
	t.Helper()
	close(l.stop)
	l.done.Wait()
	for i, err := range l.errs {
		if i == 5 {
			t.Errorf("…and %d more", len(l.errs)-i)
			break
		}
		t.Errorf("a user's conversation failed: %v", err)
	}
	if len(l.wamids) == 0 {
		t.Fatal("no conversation was completed: this test shows nothing")
	}
	return l.wamids
}
