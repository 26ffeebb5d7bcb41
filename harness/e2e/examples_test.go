package e2e

import (
	"crypto/rand"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/harness/play"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/harness/site"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/flow"
)

// TestExamples holds every recorded conversation of every example through the
// real edge, with upstreams, and looks for what must come of it.
func TestExamples(t *testing.T) {
	t.Parallel()
	examples := openExamples(t)
	upstreams, err := play.NewUpstreams()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = upstreams.Close() })
	s := start(t, site.Options{
		EdgeEnv:   []string{"FLOW_TOKEN_SECRET=" + tokenSecret},
		Caddyfile: caddyfileWith(t, upstreams, examples),
	})
	answers := 0
	for _, example := range examples {
		t.Run(example.Name, func(t *testing.T) {
			for _, c := range example.Conversations {
				t.Run(c.Name, func(t *testing.T) {
					outcome, token := s.play(t, example, c, upstreams)
					if outcome.Params != nil {
						answers++
						s.wantAnswer(t, example, c, token, outcome.Params, answers)
					}
					s.wantNowhere(t, outcome.Unspoken)
				})
			}
		})
	}
	if err := s.Died(); err != nil {
		t.Error(err)
	}
}

func openExamples(t *testing.T) []*play.Example {
	t.Helper()
	folders, err := filepath.Glob(filepath.Join(root, "examples", "*", "flow.json"))
	if err != nil {
		t.Fatal(err)
	}
	var examples []*play.Example
	for _, folder := range folders {
		example, err := play.Open(filepath.Dir(folder))
		if err != nil {
			t.Fatal(err)
		}
		examples = append(examples, example)
	}
	if len(examples) < 6 {
		t.Fatalf("%d examples, expected six at least", len(examples))
	}
	return examples
}

// caddyfileWith is the shipped Caddyfile with every upstream that an example
// asks, as an operator would write it.
func caddyfileWith(t *testing.T, upstreams *play.Upstreams, examples []*play.Example) string {
	t.Helper()
	var names []string
	for _, example := range examples {
		names = append(names, example.Definition.Upstreams()...)
	}
	slices.Sort(names)
	var directives strings.Builder
	for _, name := range slices.Compact(names) {
		fmt.Fprintf(&directives, "\t\tupstream %s %s\n", name, upstreams.URL(name))
	}
	const account = "\t\taccount default\n"
	shipped := string(readFile(t, "Caddyfile"))
	if strings.Count(shipped, account) != 1 || directives.Len() == 0 {
		t.Fatalf("upstreams %v have no place in the Caddyfile", names)
	}
	path := filepath.Join(t.TempDir(), "Caddyfile")
	if err := os.WriteFile(path, []byte(strings.Replace(shipped, account, account+directives.String(), 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// play holds a conversation through the edge. One that crossed midnight is held
// again: its dates are counted from a day.
func (s installation) play(t *testing.T, example *play.Example, c play.Conversation, upstreams *play.Upstreams) (play.Outcome, string) {
	t.Helper()
	for {
		token, err := c.FlowToken(example.Name, []byte(tokenSecret), time.Now())
		if err != nil {
			t.Fatal(err)
		}
		user := s.phoneFor(example.Definition, token)
		user.Send = s.Transport(example.Name)
		now := time.Now()
		player := play.Player{Phone: user, Upstreams: upstreams, Now: now}
		outcome, err := player.Play(t.Context(), c)
		if err != nil && time.Now().UTC().YearDay() != now.UTC().YearDay() {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		return outcome, token
	}
}

// wantAnswer delivers the finished form by webhook and wants its row and, as
// the nth, its callback.
func (s installation) wantAnswer(t *testing.T, example *play.Example, c play.Conversation, token string, params json.RawMessage, nth int) {
	t.Helper()
	wamid := "wamid." + rand.Text()
	if status, err := s.Webhook(t.Context(), completion(wamid, params)); err != nil || status != http.StatusOK {
		t.Fatalf("webhook: status %d (%v)", status, err)
	}
	s.readAll(t)
	var flowName, sessionStatus *string
	var stored []byte
	var incomplete bool
	err := s.Query(t.Context(), func(conn *pgx.Conn) error {
		return conn.QueryRow(t.Context(), `SELECT r.flow, r.response_data, r.incomplete, f.status
			FROM flow_responses r LEFT JOIN flow_sessions f ON f.id = r.session_id WHERE r.wamid = $1`, wamid).
			Scan(&flowName, &stored, &incomplete, &sessionStatus)
	})
	if err != nil {
		t.Fatal(err)
	}
	if !sameJSON(t, stored, params) {
		t.Errorf("the row holds %s, SUCCESS had %s", stored, params)
	}
	if token != flow.Unused {
		if flowName == nil || *flowName != example.Name || sessionStatus == nil || *sessionStatus != "completed" {
			t.Errorf("the row is of flow %v with a session %v, want %s and completed", flowName, sessionStatus, example.Name)
		}
		// Whoever begins without INIT begins on an entry screen.
		if incomplete && c.Steps[0].Do == "init" {
			t.Error("the row says that the answer is incomplete")
		}
	}
	s.wantDelivered(t, nth)
	callbacks := s.Receiver.Callbacks()
	found := slices.ContainsFunc(callbacks, func(callback site.Callback) bool {
		var body struct {
			ResponseData json.RawMessage `json:"response_data"`
		}
		return json.Unmarshal(callback.Body, &body) == nil && sameJSON(t, body.ResponseData, params)
	})
	if !found {
		t.Errorf("none of %d callbacks has %s", len(callbacks), params)
	}
}

// wantNowhere looks for secrets that no user has entered in everything the
// worker keeps.
func (s installation) wantNowhere(t *testing.T, secrets map[string]string) {
	t.Helper()
	if len(secrets) == 0 {
		return
	}
	s.readAll(t)
	const columns = `SELECT table_name, column_name FROM information_schema.columns
		WHERE table_schema = current_schema() AND data_type IN ('json', 'bytea') AND table_name <> 'flow_versions'`
	var places [][2]string
	err := s.Query(t.Context(), func(conn *pgx.Conn) error {
		rows, err := conn.Query(t.Context(), columns)
		if err != nil {
			return err
		}
		places, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (place [2]string, err error) {
			return place, row.Scan(&place[0], &place[1])
		})
		return err
	})
	if err != nil || len(places) == 0 {
		t.Fatalf("%d columns that hold what users said (%v)", len(places), err)
	}
	for name, value := range secrets {
		for _, place := range places {
			sql := fmt.Sprintf("SELECT count(*) FROM %s WHERE strpos(%[2]s::text, $1) > 0 OR strpos(%[2]s::text, encode($1::text::bytea, 'hex')) > 0", place[0], place[1])
			if n := s.number(t, sql, value); n > 0 {
				t.Errorf("%d rows of %s hold the secret %s in %s", n, place[0], name, place[1])
			}
		}
		if regexp.MustCompile(`\b` + regexp.QuoteMeta(value) + `\b`).MatchString(s.Edge.Tail() + s.Worker.Tail()) {
			t.Errorf("a log holds the secret %s", name)
		}
	}
}

func sameJSON(t *testing.T, a, b []byte) bool {
	t.Helper()
	var one, other any
	if err := json.Unmarshal(a, &one); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(b, &other); err != nil {
		t.Fatal(err)
	}
	return reflect.DeepEqual(one, other)
}
