package chaos

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/event"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/keyspace"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/webhook"
)

// testBuilds are the workers of every test here.
var testBuilds = &builds{root: "../.."}

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		testBuilds.close()
		os.Exit(code)
	}))
}

// shortRows are the faults of the way from Redis to Postgres and on that take a few
// seconds in short; make chaos has the others.
var shortRows = []int{2, 3, 5, 7, 10, 12, 22}

func TestFaultsInShort(t *testing.T) {
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	faults, err := Find(shortRows)
	if err != nil {
		t.Fatal(err)
	}
	// One worker for all: without WORKER_FAILPOINT the tag changes nothing.
	bin, err := testBuilds.failpoints(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range faults {
		t.Run(f.Name, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithTimeout(t.Context(), 4*time.Minute)
			defer cancel()
			v := Run(ctx, f, Options{Root: root, Bin: bin, Short: true, Say: t.Output(), Verbose: true,
				Slack:  5, // other packages' tests run at the same time
				builds: testBuilds})
			if v.Error != "" {
				t.Errorf("not run to its end: %s", v.Error)
			}
			for _, missed := range v.Missed {
				t.Errorf("promised: %s\nmissed: %s", v.Promise, missed)
			}
			for _, note := range v.Notes {
				t.Log(note)
			}
			t.Logf("%d events, %d lost, %d doubled, %d duplicate POSTs, recovery %s, %s in all",
				v.Events, v.Lost, v.Doubled, v.DuplicatePosts, duration(v.Recovery), v.Took.Round(time.Millisecond))
		})
	}
}

func TestFaultsAreNumberedOnceAndPromiseSomething(t *testing.T) {
	seen := make(map[int]bool)
	for _, f := range All() {
		if seen[f.Number] {
			t.Errorf("there are two faults %d", f.Number)
		}
		seen[f.Number] = true
		if f.Name == "" || f.Promise == "" || f.Run == nil {
			t.Errorf("fault %d has no name, no promise or nothing to run", f.Number)
		}
	}
	for n := 1; n <= len(seen); n++ {
		if !seen[n] {
			t.Errorf("there is no fault %d", n)
		}
	}
	for _, n := range shortRows {
		if !seen[n] {
			t.Errorf("there is no fault %d for the short form", n)
		}
	}
	if _, err := Find([]int{99}); err == nil {
		t.Error("fault 99 was found")
	}
}

// The documentation has a section or a line of a table for every fault.
func TestEveryFaultIsDocumented(t *testing.T) {
	text, err := os.ReadFile("../../docs/chaos.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range All() {
		if !strings.Contains(string(text), f.Name) {
			t.Errorf("docs/chaos.md does not name fault %d, %q", f.Number, f.Name)
		}
	}
}

func TestConversationIsWhatEdgesWrite(t *testing.T) {
	keys := keyspace.New("", 0)
	rows := make(map[string]int)
	for n := range 40 {
		for _, o := range conversation("run", n, keys, false) {
			for _, row := range o.rows {
				rows[row]++
			}
			switch o.kind {
			case event.KindWebhook:
				p, err := webhook.Parse(o.body)
				if err != nil || len(p.Problems) > 0 || len(p.Changes) != 1 {
					t.Fatalf("a webhook that cannot be read: %v %v", err, p)
				}
			default:
				if _, err := event.DecodeStep(o.body); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	twice := 0
	for _, n := range rows {
		if n > 1 {
			twice++
		}
	}
	if twice != 2*3 { // the webhook, the message and the answer of two conversations
		t.Errorf("%d rows come twice, want those of the two webhooks that Meta sends again", twice)
	}
}

func TestUntil(t *testing.T) {
	t.Run("goes on until it succeeds", func(t *testing.T) {
		calls := 0
		if _, err := until(t.Context(), 5*time.Second, "it", func(context.Context) error {
			if calls++; calls < 3 {
				return errors.New("not yet")
			}
			return nil
		}); err != nil || calls != 3 {
			t.Errorf("%d calls, %v", calls, err)
		}
	})
	t.Run("says what was wrong last", func(t *testing.T) {
		_, err := until(t.Context(), 50*time.Millisecond, "it", func(context.Context) error { return errors.New("one is missing") })
		if err == nil || !strings.Contains(err.Error(), "one is missing") {
			t.Errorf("got %v", err)
		}
	})
	t.Run("ends at once when nothing can help", func(t *testing.T) {
		began := time.Now()
		if _, err := until(t.Context(), time.Minute, "it", func(context.Context) error { return permanent(errors.New("it is dead")) }); err == nil {
			t.Error("it succeeded")
		}
		if time.Since(began) > 10*time.Second {
			t.Error("it waited all the same")
		}
	})
}

func TestTable(t *testing.T) {
	var b strings.Builder
	err := Print(&b, []Verdict{
		{Number: 3, Name: "kill", Events: 10, Recovery: 1500 * time.Millisecond, Bound: 3 * time.Second},
		{Number: 4, Name: "cut", Promise: "0/0", Events: 5, Lost: 1, Missed: []string{"I1: 1 entry is lost"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"kill", "1.5s", "ok", "MISSED", "missed: I1: 1 entry is lost", "Promise: 0/0"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("the table has no %q:\n%s", want, b.String())
		}
	}
}

// The short form and the command share their list of what can be built.
func TestBuildsFailWithTheCompilersWords(t *testing.T) {
	b := &builds{root: t.TempDir()}
	t.Cleanup(b.close)
	_, err := b.failpoints(t.Context())
	var exit *exec.ExitError
	if !errors.As(err, &exit) || !slices.Contains(strings.Fields(err.Error()), "failpoints]:") {
		t.Errorf("got %v", err)
	}
}
