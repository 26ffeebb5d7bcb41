package upstream

import (
	"context"
	"io"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/flow"
)

func TestAThousandUsersAreOneCall(t *testing.T) {
	const users = 1000
	var calls atomic.Int32
	arrived, release := make(chan struct{}), make(chan struct{})
	p, seen := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		if calls.Add(1) == 1 {
			close(arrived)
		}
		<-release
		_, _ = io.WriteString(w, `[1]`)
	})
	request := get("/slots")
	request.Cache = time.Minute
	var done sync.WaitGroup
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	impatient := make(chan error)
	go func() { // whoever comes first may also leave first
		_, err := p.Fetch(ctx, request, "")
		impatient <- err
	}()
	<-arrived
	for range users {
		done.Go(func() {
			answer, err := p.Fetch(t.Context(), request, "")
			if err != nil || string(answer.Body) != `[1]` {
				t.Errorf("got %s, %v", answer.Body, err)
			}
		})
	}
	cancel()
	expectFailure(t, <-impatient, Timeout, "no answer")
	close(release)
	done.Wait()
	if _, err := p.Fetch(t.Context(), request, ""); err != nil {
		t.Error(err)
	}
	if calls.Load() != 1 || seen.of(Shared)+seen.of(Cached) != users+1 || seen.sent != 1 {
		t.Errorf("%d calls, counted %v, %d sent", calls.Load(), seen.fetched, seen.sent)
	}
}

func TestWhatIsCached(t *testing.T) {
	var calls atomic.Int32
	p, _ := serve(t, func(w http.ResponseWriter, r *http.Request) {
		calls.Add(1)
		switch r.URL.Path {
		case "/base/created":
			w.WriteHeader(http.StatusCreated)
		case "/base/down":
			w.WriteHeader(http.StatusInternalServerError)
		case "/base/page":
			_, _ = io.WriteString(w, "<html>")
			return
		}
		_, _ = io.WriteString(w, `1`)
	})
	for name, c := range map[string]struct {
		request flow.FetchRequest
		want    int32
	}{
		"a GET with status 200":      {flow.FetchRequest{Method: "GET", Path: "/ok", Cache: time.Minute}, 1},
		"not without being asked to": {flow.FetchRequest{Method: "GET", Path: "/uncached"}, 3},
		"not another status of 2xx":  {flow.FetchRequest{Method: "GET", Path: "/created", Cache: time.Minute}, 3},
		"not a failure":              {flow.FetchRequest{Method: "GET", Path: "/down", Cache: time.Minute}, 3},
		"not what is no JSON":        {flow.FetchRequest{Method: "GET", Path: "/page", Cache: time.Minute}, 3},
		"not a POST":                 {flow.FetchRequest{Method: "POST", Path: "/book", Cache: time.Minute}, 3},
	} {
		calls.Store(0)
		c.request.Upstream = "api"
		for range 3 {
			_, _ = p.Fetch(t.Context(), c.request, "key")
		}
		if calls.Load() != c.want {
			t.Errorf("%s: %d calls, expected %d", name, calls.Load(), c.want)
		}
	}
}

// BenchmarkCached is a fetch that the cache answers.
func BenchmarkCached(b *testing.B) {
	p, _ := serve(b, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, `[{"id":"1","title":"09:00"}]`) })
	request := get("/slots?day=2026-11-23")
	request.Cache = time.Hour
	b.ReportAllocs()
	for b.Loop() {
		if _, err := p.Fetch(b.Context(), request, ""); err != nil {
			b.Fatal(err)
		}
	}
}
