package e2e

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/harness/site"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/flow"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/phone"
)

// numbered is a flow whose screens, and whose end, say which version answers.
const (
	numberedName = "numbered"
	numberedFlow = `{"version": "7.3", "data_api_version": "4.0", "routing_model": {"FIRST": ["SECOND"], "SECOND": []}, "screens": [
	{"id": "FIRST", "title": "First", "data": {"edition": {"type": "string", "__example__": "1"}},
	 "layout": {"type": "SingleColumnLayout", "children": [
		{"type": "TextHeading", "text": "${data.edition}"},
		{"type": "TextInput", "name": "name", "label": "Name", "required": true},
		{"type": "Footer", "label": "Continue", "on-click-action": {"name": "data_exchange", "payload": {"name": "${form.name}"}}}]}},
	{"id": "SECOND", "title": "Second", "terminal": true, "refresh_on_back": true, "data": {"edition": {"type": "string", "__example__": "1"}},
	 "layout": {"type": "SingleColumnLayout", "children": [
		{"type": "TextHeading", "text": "${data.edition}"},
		{"type": "OptIn", "name": "agreed", "label": "I agree", "required": true},
		{"type": "Footer", "label": "Send", "on-click-action": {"name": "data_exchange", "payload": {"agreed": "${form.agreed}"}}}]}}]}`
	numberedLogic = `
constants: { edition: "%d" }
screens:
  FIRST: { data: { edition: constants.edition } }
  SECOND:
    data: { edition: constants.edition }
    next: { complete: { params: { edition: constants.edition, name: session.name } } }
`
)

// edit puts a content into the place of the flow's by the API.
func (s installation) edit(ctx context.Context, flowJSON, logic string) (status int, answer []byte, err error) {
	body, err := json.Marshal(map[string]string{"flowJson": flowJSON, "logic": logic})
	if err != nil {
		return 0, nil, err
	}
	return s.API(ctx, http.MethodPut, "/api/flows/"+numberedName, body)
}

func (s installation) wantEdited(t *testing.T, edition int) {
	t.Helper()
	status, answer, err := s.edit(t.Context(), numberedFlow, fmt.Sprintf(numberedLogic, edition))
	if err != nil || status != http.StatusOK {
		t.Fatalf("PUT of edition %d: status %d (%v): %s", edition, status, err, answer)
	}
}

// TestEditingAFlow is what somebody who edits a flow in production relies on.
func TestEditingAFlow(t *testing.T) {
	t.Parallel()
	s := install(t, site.Options{})
	inParallel(t, func() error { return s.StartEdge(t.Context()) }, func() error { return s.StartWorker(t.Context()) })
	definition, err := flow.Load([]byte(numberedFlow), []byte(fmt.Sprintf(numberedLogic, 1)))
	if err != nil {
		t.Fatal(err)
	}
	user := func() *phone.Phone {
		p := s.phoneFor(definition, "token-"+rand.Text())
		p.Send = s.Transport(numberedName)
		return p
	}
	created, err := json.Marshal(map[string]string{"name": numberedName, "flowJson": numberedFlow, "logic": fmt.Sprintf(numberedLogic, 1)})
	if err != nil {
		t.Fatal(err)
	}
	if status, answer, err := s.API(t.Context(), http.MethodPost, "/api/flows", created); err != nil || status != http.StatusCreated {
		t.Fatalf("POST: status %d (%v): %s", status, err, answer)
	}
	eventually(t, 5*time.Second, "the edge serves the flow", func(ctx context.Context) error { _, err := user().Init(ctx); return err })

	const editions = 15
	t.Run("under load, nobody notices but who comes anew", func(t *testing.T) { editUnderLoad(t, s, user, editions) })
	t.Run("a broken definition never replaces a working one", func(t *testing.T) { brokenEdits(t, s, user, editions) })
	t.Run("Redis lost its data: the definitions come back", func(t *testing.T) {
		if err := s.Edge.Kill(); err != nil { // what it had in memory goes too
			t.Fatal(err)
		}
		if err := s.Servers.Redis.Kill(); err != nil {
			t.Fatal(err)
		}
		if err := s.Servers.Redis.RestartEmpty(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := s.StartEdge(t.Context()); err != nil {
			t.Fatal(err)
		}
		eventually(t, 15*time.Second, "the newest edition is served", func(ctx context.Context) error {
			edition, err := conversation(ctx, user())
			if err == nil && edition != editions {
				err = fmt.Errorf("edition %d, want %d", edition, editions)
			}
			return err
		})
	})
	if err := s.Died(); err != nil {
		t.Error(err)
	}
}

// conversation goes through the flow, once back and forth, and returns the
// edition that answered every step.
func conversation(ctx context.Context, p *phone.Phone) (edition int, err error) {
	var seen []string
	for _, step := range []struct {
		name string
		do   func() (*phone.Reply, error)
	}{
		{"INIT", func() (*phone.Reply, error) { return p.Init(ctx) }},
		{"FIRST", func() (*phone.Reply, error) { return p.Exchange(ctx, "FIRST", map[string]any{"name": "Ann"}) }},
		{"BACK", func() (*phone.Reply, error) { return p.Back(ctx, "SECOND") }},
		{"FIRST again", func() (*phone.Reply, error) { return p.Exchange(ctx, "FIRST", map[string]any{"name": "Bo"}) }},
		{"SECOND", func() (*phone.Reply, error) { return p.Exchange(ctx, "SECOND", map[string]any{"agreed": true}) }},
	} {
		reply, err := step.do()
		if err != nil {
			return 0, fmt.Errorf("%s: %w", step.name, err)
		}
		if reply.ErrorMessage != "" || reply.Ended != (step.name == "SECOND") {
			return 0, fmt.Errorf("%s: the answer is %s", step.name, reply.Plaintext)
		}
		said := reply.Data
		if reply.Ended {
			if err := json.Unmarshal(reply.Params, &said); err != nil {
				return 0, fmt.Errorf("the params are %q: %w", reply.Params, err)
			}
		}
		seen = append(seen, string(said["edition"]))
	}
	if len(slices.Compact(slices.Clone(seen))) != 1 {
		return 0, fmt.Errorf("one conversation saw the editions %v", seen)
	}
	return strconv.Atoi(strings.Trim(seen[0], `"`))
}

// editUnderLoad publishes editions 2 to last while users come and go. How long
// each takes to show on a new INIT is logged; half a second is usual.
func editUnderLoad(t *testing.T, s installation, user func() *phone.Phone, last int) {
	const users = 3
	stop := make(chan struct{})
	ctx := context.WithoutCancel(t.Context()) // a conversation that has begun is finished
	var wg sync.WaitGroup
	var mu sync.Mutex
	conversations := map[int]int{} // by edition
	crossed := 0                   // ended after a newer edition was there
	var newest atomic.Int64
	var errs []error
	for range users {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				edition, err := conversation(ctx, user())
				mu.Lock()
				if err != nil {
					errs = append(errs, err)
				} else {
					conversations[edition]++
					if int64(edition) < newest.Load() {
						crossed++
					}
				}
				mu.Unlock()
			}
		})
	}
	var took []time.Duration
	for edition := 2; edition <= last; edition++ {
		s.wantEdited(t, edition)
		answered := time.Now()
		newest.Store(int64(edition))
		eventually(t, 5*time.Second, fmt.Sprintf("a new user sees edition %d", edition), func(ctx context.Context) error {
			reply, err := user().Init(ctx)
			if err == nil && string(reply.Data["edition"]) != strconv.Quote(strconv.Itoa(edition)) {
				err = fmt.Errorf("it shows edition %s", reply.Data["edition"])
			}
			return err
		})
		took = append(took, time.Since(answered))
	}
	close(stop)
	wg.Wait()
	for _, err := range errs {
		t.Errorf("a user's conversation failed: %v", err)
	}
	total := 0
	for _, n := range conversations {
		total += n
	}
	if crossed == 0 || len(conversations) < 2 {
		t.Errorf("%d of %d conversations on %d editions crossed an edit: this shows nothing", crossed, total, len(conversations))
	}
	slices.Sort(took)
	t.Logf("%d edits under %d conversations, %d of which crossed one: an edition shows %s after the PUT's answer (median; fastest %s, slowest %s)",
		len(took), total, crossed, took[len(took)/2].Round(time.Millisecond), took[0].Round(time.Millisecond), took[len(took)-1].Round(time.Millisecond))
}

func brokenEdits(t *testing.T, s installation, user func() *phone.Phone, edition int) {
	logic := fmt.Sprintf(numberedLogic, 99)
	for _, c := range []struct{ name, flowJSON, logic, says string }{
		{"no JSON", `{"version": "7.3", `, logic, "INVALID_FLOW_JSON"},
		{"a Flow JSON that WhatsApp refuses", strings.Replace(numberedFlow, `"TextHeading"`, `"TextHeadline"`, 1), logic, "INVALID_FLOW_JSON"},
		{"an unknown screen in the routing model", strings.Replace(numberedFlow, `["SECOND"]`, `["THIRD"]`, 1), logic, "INVALID_FLOW_JSON"},
		{"logic that names an unknown field", numberedFlow, strings.Replace(logic, "session.name", "session.nmae", 1), "INVALID_LOGIC"},
		{"logic for an unknown screen", numberedFlow, strings.Replace(logic, "  SECOND:", "  THIRD:", 1), "INVALID_LOGIC"},
		{"logic that is no YAML", numberedFlow, "screens: [", "INVALID_LOGIC"},
	} {
		t.Run(c.name, func(t *testing.T) {
			status, answer, err := s.edit(t.Context(), c.flowJSON, c.logic)
			if err != nil {
				t.Fatal(err)
			}
			if status != http.StatusUnprocessableEntity || !strings.Contains(string(answer), c.says) {
				t.Errorf("status %d: %s; want 422 and %s", status, answer, c.says)
			}
		})
	}
	t.Run("and the working one still answers", func(t *testing.T) {
		for range 5 {
			if got, err := conversation(t.Context(), user()); err != nil || got != edition {
				t.Errorf("edition %d (%v), want %d", got, err, edition)
			}
		}
		status, answer, err := s.API(t.Context(), http.MethodGet, "/api/flows/"+numberedName, nil)
		var got struct {
			Data struct {
				ActiveVersion int `json:"activeVersion"`
				LatestVersion int `json:"latestVersion"`
			} `json:"data"`
		}
		if err := errors.Join(err, json.Unmarshal(answer, &got)); err != nil || status != http.StatusOK {
			t.Fatalf("status %d (%v): %s", status, err, answer)
		}
		if got.Data.ActiveVersion != edition || got.Data.LatestVersion != edition {
			t.Errorf("active version %d, latest %d, want %d", got.Data.ActiveVersion, got.Data.LatestVersion, edition)
		}
	})
}
