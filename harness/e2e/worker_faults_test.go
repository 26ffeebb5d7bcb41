package e2e

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	mathrand "math/rand/v2"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/harness/site"
)

func TestWorkerKilledBetweenReadAndAcknowledgement(t *testing.T) {
	t.Parallel()
	s := start(t, site.Options{})
	var wamids []string
	for _, point := range []string{"after_read", "before_commit", "after_commit"} {
		t.Run(point, func(t *testing.T) {
			if err := s.Worker.Kill(); err != nil {
				t.Fatal(err)
			}
			// It may stop at the point before it is ready: nothing waits for that.
			if err := s.LaunchWorker("WORKER_FAILPOINT=" + point); err != nil {
				t.Fatal(err)
			}
			wamid, err := s.complete(t.Context(), s.phone(t, rand.Text()))
			if err != nil {
				t.Fatal(err)
			}
			wamids = append(wamids, wamid)
			eventually(t, 10*time.Second, "the worker stops at the failpoint", func(context.Context) error {
				if !strings.Contains(s.Worker.Tail(), "failpoint "+point) {
					return errors.New("it has not said so yet")
				}
				return nil
			})
			if unread, err := s.Unread(t.Context()); err != nil || unread == 0 {
				t.Fatalf("%d entries unread (%v): the kill would come too late", unread, err)
			}
			if err := s.Worker.Kill(); err != nil {
				t.Fatal(err)
			}
			if err := s.StartWorker(t.Context()); err != nil {
				t.Fatal(err)
			}
			s.readAll(t)
			s.wantStored(t, wamids)
		})
	}
	s.wantDelivered(t, len(wamids))
}

func TestWorkerKilledAtRandomUnderLoad(t *testing.T) {
	t.Parallel()
	s := start(t, site.Options{})
	users := startLoad(t, s, 3)
	const kills = 8
	for range kills {
		// Long enough to be in the middle of something, never the same.
		timer := time.NewTimer(time.Duration(100+mathrand.IntN(600)) * time.Millisecond)
		<-timer.C
		if err := s.Worker.Kill(); err != nil {
			t.Fatal(err)
		}
		if err := s.StartWorker(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	wamids := users.end(t)
	s.readAll(t)
	s.wantStored(t, wamids)
	repeated := s.wantDelivered(t, len(wamids))
	s.wantNoGaps(t)
	t.Logf("%d kills, %d answers, none lost, none stored twice; %d callbacks came again under their own id", kills, len(wamids), repeated)
}

func TestWorkerStopsGracefully(t *testing.T) {
	t.Parallel()
	s := start(t, site.Options{})
	users := startLoad(t, s, 2)
	eventually(t, 10*time.Second, "the load is on", func(context.Context) error {
		if users.completed() < 10 {
			return fmt.Errorf("%d conversations", users.completed())
		}
		return nil
	})
	const limit = 25 * time.Second
	began := time.Now()
	if err := s.Worker.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	select {
	case <-s.Worker.Done():
	case <-time.After(limit):
		t.Fatalf("still running %s after SIGTERM", limit)
	}
	if err := s.Worker.Wait(); err != nil {
		t.Errorf("it ended with %v, want status 0", err)
	}
	t.Logf("stopped within %s", time.Since(began).Round(time.Millisecond))
	if n := s.number(t, "SELECT count(*) FROM deliveries WHERE state = 'leased'"); n != 0 {
		t.Errorf("%d deliveries are still leased: they would wait for 90 s", n)
	}
	if err := s.StartWorker(t.Context()); err != nil {
		t.Fatal(err)
	}
	wamids := users.end(t)
	s.readAll(t)
	s.wantStored(t, wamids)
	if repeated := s.wantDelivered(t, len(wamids)); repeated != 0 {
		t.Errorf("%d callbacks came twice; a worker that may finish sends each once", repeated)
	}
}

// wantNoGaps stops the edge, whose last marks say what it has written, and checks
// by its numbers that every entry has arrived.
func (s installation) wantNoGaps(t *testing.T) {
	t.Helper()
	if err := s.Edge.End(syscall.SIGTERM, 40*time.Second); err != nil {
		t.Fatal(err)
	}
	s.readAll(t)
	if n := s.number(t, "SELECT count(*) FROM stream_sources WHERE mark > 0"); n == 0 {
		t.Error("a stopping edge leaves no marks: gaps could not be seen")
	}
	if n := s.number(t, "SELECT count(*) FROM stream_sources WHERE NOT isempty(int8multirange(int8range(1, mark, '[]')) - seen) OR NOT isempty(lost)"); n != 0 {
		t.Errorf("on %d shards numbers are missing", n)
	}
}
