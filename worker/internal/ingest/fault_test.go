package ingest

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/url"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/event"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/worker/internal/store"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/worker/internal/stream"
)

// One entry that can never be stored must not cost its neighbours anything.
func TestPoisonAmongGoodEntries(t *testing.T) {
	incompressible := make([]byte, 6000)
	for i := range incompressible {
		incompressible[i] = byte('a' + rand.IntN(26))
	}
	s := newSuite(t)
	poison := map[string]stream.Entry{
		"undecodable":        {Stream: "waf:{s3}:events", ID: "9-1", Shard: 3, Problem: fmt.Errorf("field v is \"7\"\x00"), Event: event.Entry{Source: "edge-1", Seq: 1000}, Fields: map[string]any{"v": "7", "body": "\x00\xff"}},
		"a step of no JSON":  s.entry(event.KindStep, "x:1", []byte("oops")),
		"a flow's long name": s.step(event.Step{Flow: string(incompressible), Token: "T", Version: 1, Attempt: 1, Outcome: event.OutcomeNext}),
		"a year of 50 000":   s.hook(textBody("wamid.year", "1")),
	}
	future := poison["a year of 50 000"]
	future.Event.Time = future.Event.Time.AddDate(48000, 0, 0)
	poison["a year of 50 000"] = future

	var batch []stream.Entry
	for i := range 40 {
		batch = append(batch, s.hook(textBody(fmt.Sprint("wamid.", i), "1")))
	}
	for _, p := range poison {
		at := rand.IntN(len(batch))
		batch = append(batch[:at], append([]stream.Entry{p}, batch[at:]...)...)
	}
	dead := s.write(batch...)
	if len(dead) != len(poison) {
		t.Errorf("%d dead, expected %d", len(dead), len(poison))
	}
	s.expect("40", "SELECT count(*) FROM webhook_events")
	s.expect("4", "SELECT count(*) FROM dead_entries")
	s.expect("0", "SELECT count(*) FROM flow_steps")
	s.expect("1", "SELECT count(*) FROM dead_entries WHERE reason LIKE 'Postgres refused it: SQLSTATE 54000%'")
	s.expect("AP8=", "SELECT convert_from(fields, 'UTF8')::json->>'body' FROM dead_entries WHERE stream_id = '9-1'")
	// They arrived, so none of them is missing.
	s.expect("true", "SELECT seen @> 1000::bigint AND seen @> int8range(1, $1, '[]') FROM stream_sources WHERE shard = 3", s.seq)
	// The same again, as after a crash before the acknowledgement.
	if again := s.write(batch...); len(again) != len(poison) {
		t.Errorf("%d dead when written again, expected %d", len(again), len(poison))
	}
	s.expect("4", "SELECT count(*) FROM dead_entries")
	s.expect("40", "SELECT count(*) FROM webhook_events")
}

// A fault of the worker that one entry brings out costs that entry only.
func TestEntryThatMakesTheWorkerPanic(t *testing.T) {
	s := newSuite(t)
	s.writer.config.Accounts = func(phoneNumberID, _, fallback string) string {
		if phoneNumberID == "13" {
			panic("geheim")
		}
		return fallback
	}
	batch := s.hooks([]string{textBody("wamid.1", "1"), textBody("wamid.2", "1"), in("13", `"messages":[{"id":"w"}]`), textBody("wamid.3", "1")})
	dead := s.write(batch...)
	if len(dead) != 1 || dead[0].Entry.ID != batch[2].ID || strings.Contains(dead[0].Reason, "geheim") {
		t.Errorf("dead = %+v", dead)
	}
	s.expect("3", "SELECT count(*) FROM webhook_events")
	s.expect("1", "SELECT count(*) FROM dead_entries WHERE reason LIKE '%fault of the worker%'")
}

func TestBytesThatPostgresRefusesAsText(t *testing.T) {
	s := newSuite(t)
	hook := s.hook(in("10\\u000065", `"contacts":[{"profile":{"name":"A\u0000da","username":"u\ud800"},"wa_id":"1\u0000"}],"messages":[{"id":"w\u0000","from":"1\u0000","type":"te\u0000xt"}]`))
	step := s.step(event.Step{Token: "T\x00", Version: 1, Attempt: 1, Outcome: event.OutcomeNext, To: "S\x00\xff", Answers: map[string]jsonValue{"k": raw(`"\u0000"`)}})
	hook.Event.ID, step.Event.ID = "id\x00", "id\xff"
	if dead := s.write(hook, step); len(dead) > 0 {
		t.Fatalf("dead: %s", dead[0].Reason)
	}
	s.expect("w\uFFFD te\uFFFDxt", "SELECT wamid || ' ' || type FROM webhook_messages")
	s.expect("A\uFFFDda u\uFFFD 1\uFFFD", "SELECT name || ' ' || username || ' ' || phone_number FROM contacts")
	s.expect("2", "SELECT count(*) FROM event_keys WHERE dedup ~ '^id\uFFFD(@[0-9]+)?$'")
}

// A batch that lost against others is tried again; nothing is given up.
func TestTransactionsThatCollide(t *testing.T) {
	s := newSuite(t)
	s.endpoint("*", true)
	var batch []stream.Entry
	for i := range 30 {
		batch = append(batch, s.hook(completionBody(fmt.Sprint("wamid.", i), fmt.Sprint(i%7), fmt.Sprintf(`{"flow_token":"T%d"}`, i%5))),
			s.step(event.Step{Token: fmt.Sprint("T", i%5), Version: int64(i/5 + 1), Attempt: 1, Outcome: event.OutcomeNext}))
	}
	var wait sync.WaitGroup
	for range 6 {
		mixed := append([]stream.Entry(nil), batch...)
		rand.Shuffle(len(mixed), func(i, j int) { mixed[i], mixed[j] = mixed[j], mixed[i] })
		wait.Go(func() {
			for len(mixed) > 0 {
				n := min(1+rand.IntN(20), len(mixed))
				dead, err := s.writer.Write(t.Context(), mixed[:n])
				if err != nil {
					if store.FaultOf(err) != store.FaultCollision {
						t.Error(err)
						return
					}
					continue // the reader writes the same batch again
				}
				if len(dead) > 0 {
					t.Errorf("dead: %s", dead[0].Reason)
				}
				mixed = mixed[n:]
			}
		})
	}
	wait.Wait()
	s.expect("30", "SELECT count(*) FROM flow_responses WHERE session_id IS NOT NULL")
	s.expect("30", "SELECT count(*) FROM deliveries")
	s.expect("30", "SELECT count(*) FROM webhook_events")
	s.expect("5 6", "SELECT count(*) || ' ' || max(version) FROM flow_sessions")
	s.expect("7", "SELECT count(*) FROM contacts")
}

// The commit happened, its reply got lost: writing the batch again is a no-op.
func TestCommitReplyLost(t *testing.T) {
	s := newSuite(t)
	s.endpoint("*", true)
	through := cutAfterCommit(t, s.pool.Config().ConnString())
	pool, err := store.Open(t.Context(), through.url, 2)
	if err != nil {
		t.Fatal(err)
	}
	defer pool.Close()
	w := NewWriter(pool, Config{})
	batch := []stream.Entry{
		s.hook(completionBody("wamid.1", "1", `{"flow_token":"T"}`)),
		s.step(event.Step{Token: "T", Version: 1, Attempt: 1, Outcome: event.OutcomeComplete}),
	}
	through.armed.Store(true)
	if _, err := w.Write(t.Context(), batch); err == nil || store.FaultOf(err) != store.FaultServer {
		t.Fatalf("Write = %v, expected a connection error", err)
	}
	s.expect("1", "SELECT count(*) FROM flow_responses") // it was committed
	if _, err := w.Write(t.Context(), batch); err != nil {
		t.Fatal(err)
	}
	s.expect("1 1 1 1", `SELECT concat_ws(' ', (SELECT count(*) FROM flow_responses WHERE session_id IS NOT NULL), (SELECT count(*) FROM webhook_events),
		(SELECT count(*) FROM flow_steps), (SELECT count(*) FROM deliveries))`)
}

// proxy cuts a connection once the server has answered the next COMMIT.
type proxy struct {
	url   string
	armed atomic.Bool
}

func cutAfterCommit(t *testing.T, databaseURL string) *proxy {
	t.Helper()
	u, err := url.Parse(databaseURL)
	if err != nil || u.Host == "" {
		t.Fatalf("DATABASE_URL %q is not a URL", os.Getenv("DATABASE_URL"))
	}
	upstream := u.Host
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{}
	u.Host = listener.Addr().String()
	p.url = u.String()
	var wait sync.WaitGroup
	t.Cleanup(func() { _ = listener.Close(); wait.Wait() })
	wait.Go(func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				return
			}
			server, err := net.Dial("tcp", upstream)
			if err != nil {
				_ = client.Close()
				continue
			}
			var committing atomic.Bool
			wait.Go(func() {
				defer server.Close()
				_, _ = io.Copy(server, watch{client, func(b []byte) {
					if p.armed.Load() && bytes.Contains(bytes.ToLower(b), []byte("commit")) {
						committing.Store(true)
					}
				}})
			})
			wait.Go(func() {
				defer client.Close()
				buffer := make([]byte, 64<<10)
				for {
					n, err := server.Read(buffer)
					if err != nil || committing.Load() && p.armed.CompareAndSwap(true, false) {
						return // the reply to the commit is never passed on
					}
					if _, err := client.Write(buffer[:n]); err != nil {
						return
					}
				}
			})
		}
	})
	return p
}

type watch struct {
	io.Reader
	see func([]byte)
}

func (w watch) Read(b []byte) (int, error) {
	n, err := w.Reader.Read(b)
	w.see(b[:n])
	return n, err
}

func TestUnstorableRecordStaysWhereItIs(t *testing.T) {
	s := newSuite(t)
	s.exec("ALTER TABLE dead_entries ADD CHECK (reason NOT LIKE 'never%')")
	_, err := s.writer.Write(t.Context(), []stream.Entry{{Stream: "s", ID: "1-1", Problem: fmt.Errorf("never"), Fields: map[string]any{}}})
	if err == nil || !strings.Contains(err.Error(), "recording a dead entry") {
		t.Errorf("Write = %v", err)
	}
}
