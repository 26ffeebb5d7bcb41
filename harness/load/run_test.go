package load

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// serve runs a handler on a port of this machine and returns its address.
func serve(t *testing.T, handler http.HandlerFunc) string {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	return server.Listener.Addr().String()
}

// raw answers each connection's first bytes with an answer and closes it.
func raw(t *testing.T, answer string) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			buf := make([]byte, 4096)
			if n, _ := conn.Read(buf); n > 0 {
				_, _ = io.WriteString(conn, answer)
			}
			conn.Close()
		}
	}()
	t.Cleanup(func() { listener.Close(); <-done })
	return listener.Addr().String()
}

func expect(want int, content string) func(int, []byte) error {
	return func(status int, body []byte) error {
		if status != want || string(body) != content {
			return fmt.Errorf("status %d %q, expected %d %q", status, body, want, content)
		}
		return nil
	}
}

// the two ways to run calls, for what holds of both.
var ways = map[string]func(ctx context.Context, address string, calls []Call, connections int) (Result, error){
	"closed": Closed,
	"open": func(ctx context.Context, address string, calls []Call, connections int) (Result, error) {
		return Open(ctx, address, calls, 20000, connections)
	},
}

func TestEveryCallIsSentOnceAndJudged(t *testing.T) {
	// The answer depends on the request: an answer to another call is found.
	address := serve(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		w.Header().Set("Content-Type", "text/plain")
		if r.Header.Get("Mode") == "chunked" {
			w.WriteHeader(http.StatusOK)
			w.(http.Flusher).Flush()
		}
		fmt.Fprintf(w, "%s %s %x", r.Method, r.URL.Path, sha256.Sum256(body))
	})
	var calls []Call
	for i := range 600 {
		body := []byte(strings.Repeat("x", i*7))
		path := fmt.Sprintf("/calls/%d", i)
		mode := []string{"Mode: sized", "Mode: chunked"}[i%2]
		calls = append(calls, Call{
			Request: Request(path, []string{mode}, body),
			Judge:   expect(200, fmt.Sprintf("POST %s %x", path, sha256.Sum256(body))),
		})
	}
	for way, run := range ways {
		for _, connections := range []int{1, 4, 32} {
			t.Run(fmt.Sprintf("%s loop, %d connections", way, connections), func(t *testing.T) {
				result, err := run(t.Context(), address, calls, connections)
				if err != nil {
					t.Fatal(err)
				}
				if err := result.Err(); err != nil {
					t.Fatal(err)
				}
				for i, a := range result.Answers {
					if a.Status != 200 || a.Took <= 0 || a.Took > result.Took {
						t.Fatalf("answer %d has status %d and took %s of %s", i, a.Status, a.Took, result.Took)
					}
				}
			})
		}
	}
}

func TestEveryStatusIsReported(t *testing.T) {
	address := serve(t, func(w http.ResponseWriter, r *http.Request) {
		var status int
		_, _ = fmt.Sscanf(r.URL.Path, "/%d", &status)
		w.WriteHeader(status)
	})
	statuses := []int{200, 204, 304, 400, 413, 421, 427, 432, 499, 500, 503, 599}
	var calls []Call
	for _, status := range statuses {
		calls = append(calls, Call{Request: Request(fmt.Sprintf("/%d", status), nil, []byte("{}")), Judge: expect(status, "")})
	}
	for way, run := range ways {
		result, err := run(t.Context(), address, calls, 3)
		if err = errors.Join(err, result.Err()); err != nil {
			t.Fatalf("%s loop: %v", way, err)
		}
		for i, want := range statuses {
			if got := result.Answers[i].Status; got != want {
				t.Errorf("%s loop: status %d is reported as %d", way, want, got)
			}
		}
	}
}

func TestWhatGoesWrongIsReported(t *testing.T) {
	good := func(int, []byte) error { return nil }
	three := []Call{{Request: Request("/", nil, nil), Judge: good}, {Request: Request("/", nil, nil), Judge: good}, {Request: Request("/", nil, nil), Judge: good}}
	for _, c := range []struct{ name, answer, want string }{
		{"a server that closes the connection", "", "3 of 3 answers are not good; call 0: the server closed the connection without an answer"},
		{"an answer that ends in its middle", "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf", "4 of 9 bytes came"},
		{"something else than HTTP", "-ERR unknown command\r\n\r\n", "the status line is"},
		{"a connection closed that was not said to be", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", "1 of 3 answers are not good; call 1: "},
	} {
		for way, run := range ways {
			t.Run(c.name+", "+way+" loop", func(t *testing.T) {
				result, err := run(t.Context(), raw(t, c.answer), three, 1)
				if err != nil {
					t.Fatal(err)
				}
				if err := result.Err(); err == nil || !strings.Contains(err.Error(), c.want) {
					t.Errorf("error %v, want one with %q", err, c.want)
				}
			})
		}
	}
	t.Run("a connection that ends as announced is no error", func(t *testing.T) {
		address := raw(t, "HTTP/1.1 503 Busy\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
		result, err := Closed(t.Context(), address, three, 1)
		if err = errors.Join(err, result.Err()); err != nil {
			t.Fatal(err)
		}
	})
	t.Run("an answer that its judge refuses", func(t *testing.T) {
		address := serve(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "no") })
		calls := []Call{three[0], {Request: three[0].Request, Judge: expect(200, "yes")}}
		for way, run := range ways {
			result, err := run(t.Context(), address, calls, 1)
			if err != nil {
				t.Fatal(err)
			}
			want := `1 of 2 answers are not good; call 1: status 200 "no", expected 200 "yes"`
			if err := result.Err(); err == nil || err.Error() != want {
				t.Errorf("%s loop: error %v, want %s", way, err, want)
			}
		}
	})
	t.Run("nobody listens", func(t *testing.T) {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		listener.Close()
		_, err = Closed(t.Context(), listener.Addr().String(), three, 2)
		if err == nil || !strings.Contains(err.Error(), "opening connection 1 of 2") {
			t.Errorf("error %v, want one of opening a connection", err)
		}
	})
	t.Run("no calls, no connections, arrivals that do not fit", func(t *testing.T) {
		_, noCalls := Closed(t.Context(), "127.0.0.1:1", nil, 1)
		_, noConnections := Closed(t.Context(), "127.0.0.1:1", three, 0)
		_, noRate := Open(t.Context(), "127.0.0.1:1", three, 0, 1)
		_, tooFew := OpenAt(t.Context(), "127.0.0.1:1", three, Even(2, 1), 1)
		for _, err := range []error{noCalls, noConnections, noRate, tooFew} {
			if err == nil || !strings.Contains(err.Error(), "expected") {
				t.Errorf("error %v, want one that says what is expected", err)
			}
		}
	})
}

func TestTheEndOfItsContextEndsARun(t *testing.T) {
	for way, run := range ways {
		t.Run(way+" loop", func(t *testing.T) {
			ctx, cancel := context.WithCancelCause(t.Context())
			ended := errors.New("enough")
			release := make(chan struct{})
			var asked atomic.Int32
			address := serve(t, func(http.ResponseWriter, *http.Request) {
				if asked.Add(1) == 2 {
					cancel(ended)
					<-release
				}
			})
			calls := make([]Call, 5)
			for i := range calls {
				calls[i] = Call{Request: Request("/", nil, nil), Judge: expect(200, "")}
			}
			result, err := run(ctx, address, calls, 1)
			close(release)
			if err != ended {
				t.Fatalf("error %v, want %v", err, ended)
			}
			for i, want := range []error{nil, ended, errNotSent, errNotSent, errNotSent} {
				if got := result.Answers[i].Err; got != want {
					t.Errorf("answer %d: error %v, want %v", i, got, want)
				}
			}
		})
	}
}

func TestAStalledServerCostsThoseItKeepsWaiting(t *testing.T) {
	const stall = 20 * time.Millisecond
	address := serve(t, func(http.ResponseWriter, *http.Request) { <-time.After(stall) })
	calls := make([]Call, 5)
	for i := range calls {
		calls[i] = Call{Request: Request("/", nil, nil), Judge: expect(200, "")}
	}
	arrivals := Even(len(calls), 1000)
	result, err := OpenAt(t.Context(), address, calls, arrivals, 1)
	if err = errors.Join(err, result.Err()); err != nil {
		t.Fatal(err)
	}
	// One connection: the call due after i ms is answered after (i+1) stalls.
	for i, a := range result.Answers {
		if want := time.Duration(i+1)*stall - arrivals[i]; a.Took < want {
			t.Errorf("call %d took %s, want at least %s with its waiting", i, a.Took, want)
		}
	}
}

func TestCallsAreSentWhenTheyAreDue(t *testing.T) {
	var last atomic.Int64
	start := time.Now()
	address := serve(t, func(http.ResponseWriter, *http.Request) { last.Store(int64(time.Since(start))) })
	calls := make([]Call, 20)
	for i := range calls {
		calls[i] = Call{Request: Request("/", nil, nil), Judge: expect(200, "")}
	}
	arrivals := Even(len(calls), 200)
	result, err := OpenAt(t.Context(), address, calls, arrivals, 2)
	if err = errors.Join(err, result.Err()); err != nil {
		t.Fatal(err)
	}
	if due := arrivals[len(arrivals)-1]; time.Duration(last.Load()) < due || result.Took < due {
		t.Errorf("the last call came after %s of a run of %s, but was due after %s", time.Duration(last.Load()), result.Took, due)
	}
}

func TestArrivals(t *testing.T) {
	t.Run("even ones have equal distances", func(t *testing.T) {
		got := fmt.Sprint(Even(4, 1000))
		if want := "[0s 1ms 2ms 3ms]"; got != want {
			t.Errorf("%s, want %s", got, want)
		}
	})
	t.Run("those by Poisson are the same for one seed and have the rate and the spread asked for", func(t *testing.T) {
		const n, perSecond = 100000, 500.0
		a, b, other := Poisson(n, perSecond, 7), Poisson(n, perSecond, 7), Poisson(n, perSecond, 8)
		if fmt.Sprint(a) != fmt.Sprint(b) || fmt.Sprint(a[:10]) == fmt.Sprint(other[:10]) {
			t.Error("the seed does not decide")
		}
		rate := n / a[n-1].Seconds()
		var squares float64
		for i := 1; i < n; i++ {
			squares += math.Pow((a[i]-a[i-1]).Seconds()*perSecond-1, 2)
		}
		// The distances of a Poisson process deviate by as much as their mean.
		if deviation := math.Sqrt(squares / n); math.Abs(rate/perSecond-1) > 0.02 || math.Abs(deviation-1) > 0.02 {
			t.Errorf("%.1f in a second with a deviation of %.2f, want %.0f with 1", rate, deviation, perSecond)
		}
	})
}

func TestQuantiles(t *testing.T) {
	result := Result{Answers: make([]Answer, 100)}
	for i := range result.Answers {
		result.Answers[i] = Answer{Status: 200 + i%2, Took: time.Duration(100-i) * time.Millisecond}
	}
	all := result.Times(func(int, Answer) bool { return true })
	for _, c := range []struct {
		q    float64
		want time.Duration
	}{{0, 1}, {0.01, 1}, {0.5, 50}, {0.95, 95}, {0.99, 99}, {0.991, 100}, {1, 100}} {
		if got := all.Quantile(c.q); got != c.want*time.Millisecond {
			t.Errorf("quantile %g of 1 to 100 ms is %s, want %d ms", c.q, got, c.want)
		}
	}
	some := result.Times(func(i int, a Answer) bool { return a.Status == 200 && i >= 50 })
	if len(some) != 25 || some.Max() != 50*time.Millisecond || some[0] != 2*time.Millisecond {
		t.Errorf("%d times from %s to %s, want 25 from 2ms to 50ms", len(some), some[0], some.Max())
	}
	if none := (Times)(nil); none.Quantile(0.5) != 0 || none.Max() != 0 {
		t.Error("without times there is no quantile")
	}
}

func BenchmarkClosed(b *testing.B) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "ok") }))
	defer server.Close()
	calls := make([]Call, b.N)
	for i := range calls {
		calls[i] = Call{Request: Request("/", nil, nil), Judge: expect(200, "ok")}
	}
	b.ReportAllocs()
	b.ResetTimer()
	result, err := Closed(b.Context(), server.Listener.Addr().String(), calls, 4)
	if err = errors.Join(err, result.Err()); err != nil {
		b.Fatal(err)
	}
}
