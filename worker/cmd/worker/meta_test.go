package main

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/flowjson/validate"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/flowtoken"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/graph"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/graph/graphtest"
)

const (
	metaAccount = "102290129340398"
	metaPhone   = "106540352242922"
	metaApp     = "670843887433847"
	metaToken   = "EAAJgeheim0123456789abcdefghijk"
	metaKey     = "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n"
	endpointURL = "https://flows.example.com/flows/endpoint/{flow}"
)

// asking is a flow that asks an endpoint.
const asking = `{"version": "7.3", "data_api_version": "4.0", "routing_model": {"FIRST": []}, "screens": [
  {"id": "FIRST", "title": "First", "terminal": true, "layout": {"type": "SingleColumnLayout", "children": [
    {"type": "TextInput", "name": "word", "label": "Word"},
    {"type": "Footer", "label": "Done", "on-click-action": {"name": "data_exchange", "payload": {"word": "${form.word}"}}}
  ]}}
]}
`

// greeting is a flow without an endpoint whose first screen wants data.
const greeting = `{"version": "7.3", "screens": [
  {"id": "HELLO", "title": "Hello", "terminal": true, "data": {"greeting": {"type": "string", "__example__": "Hi"}}, "layout": {"type": "SingleColumnLayout", "children": [
    {"type": "TextBody", "text": "${data.greeting}"},
    {"type": "Footer", "label": "Done", "on-click-action": {"name": "complete", "payload": {}}}
  ]}}
]}
`

// metaSite is Meta with an account in order, and the environment for it.
func metaSite(t *testing.T) (*graphtest.Server, map[string]string) {
	t.Helper()
	s := graphtest.New()
	t.Cleanup(s.Close)
	s.AddAccount(metaAccount)
	s.AddNumber(metaAccount, graph.Number{ID: metaPhone, Display: "+1 555-078-3881"})
	s.SetKey(metaPhone, graph.PublicKey{PEM: metaKey, Signature: graph.SignatureValid})
	s.AddApp(metaApp, "Shop", "app-geheim", "verify-geheim")
	s.AddToken(metaToken, graphtest.Token{AppID: metaApp})
	return s, map[string]string{"META_ACCESS_TOKEN": metaToken, "META_WABA_ID": metaAccount, "META_PHONE_NUMBER_ID": metaPhone, "META_GRAPH_URL": s.URL()}
}

// metaRun runs a command and refuses any secret in what it prints.
func metaRun(t *testing.T, env map[string]string, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	code, stdout, stderr = execute(t, env, args...)
	if strings.Contains(stdout+stderr, "geheim") {
		t.Errorf("worker %s prints a secret:\n%s%s", strings.Join(args, " "), stdout, stderr)
	}
	return code, stdout, stderr
}

// well runs a command that must succeed.
func well(t *testing.T, env map[string]string, args ...string) string {
	t.Helper()
	code, stdout, stderr := metaRun(t, env, args...)
	if code != 0 || stderr != "" {
		t.Fatalf("worker %s: exit code %d: %s%s", strings.Join(args, " "), code, stderr, stdout)
	}
	return stdout
}

// fails runs a command that must fail with one sentence.
func fails(t *testing.T, env map[string]string, want string, args ...string) string {
	t.Helper()
	code, stdout, stderr := metaRun(t, env, args...)
	if code != 1 || !strings.Contains(stderr, want) || strings.Count(stderr, "\n") != 1 {
		t.Errorf("worker %s: exit code %d, %q, expected %q\n%s", strings.Join(args, " "), code, stderr, want, stdout)
	}
	return stdout
}

func contains(t *testing.T, got string, want ...string) {
	t.Helper()
	for _, w := range want {
		if !strings.Contains(got, w) {
			t.Errorf("it does not say %q:\n%s", w, got)
		}
	}
}

func TestAFlowGoesToMetaAndLive(t *testing.T) {
	s, env := metaSite(t)
	dir := folder(t, map[string]string{"survey/flow.json": asking, "plain.json": goodFlow})

	fails(t, env, "give --endpoint", "meta", "flows", "push", dir, "survey")
	if w := s.Writes(); len(w) != 0 {
		t.Fatalf("something was changed before the endpoint was known: %v", w)
	}
	out := well(t, env, "meta", "flows", "push", dir, "--endpoint", endpointURL, "--category", "SURVEY")
	contains(t, out, "create, category SURVEY", "upload the Flow JSON (", "set the endpoint to https://flows.example.com/flows/endpoint/survey")
	survey := s.FlowNamed("survey")
	if string(survey.JSON) != asking || survey.EndpointURI != "https://flows.example.com/flows/endpoint/survey" || survey.ApplicationID != metaApp || survey.Status != graph.Draft || !slices.Equal(survey.Categories, []string{"SURVEY"}) {
		t.Fatalf("%+v", survey)
	}
	if plain := s.FlowNamed("plain"); string(plain.JSON) != goodFlow || plain.EndpointURI != "" {
		t.Errorf("%+v", plain)
	}
	lock, err := os.ReadFile(filepath.Join(dir, "meta.production.lock"))
	if err != nil || !strings.Contains(string(lock), `"id": "`+survey.ID+`"`) || strings.Contains(string(lock), "geheim") {
		t.Fatalf("%v\n%s", err, lock)
	}

	before := len(s.Writes())
	contains(t, well(t, env, "meta", "flows", "push", dir), "survey "+survey.ID+": nothing to do")
	contains(t, well(t, env, "meta", "flows", "diff", dir), "DRAFT   same")
	if after := len(s.Writes()); after != before {
		t.Errorf("a second push changed something: %v", s.Writes()[before:])
	}

	out = fails(t, env, "1 checks fail", "meta", "flows", "publish", dir, "survey", "--dry-run")
	contains(t, out, "would publish", "FAILS  account subscribed to webhooks", "ok     public key with a valid signature  VALID on "+metaPhone)
	out = fails(t, env, "code 139002", "meta", "flows", "publish", dir, "survey")
	contains(t, out, "FAILS  account subscribed to webhooks")
	well(t, env, "meta", "subscribe", "--account-only")
	contains(t, well(t, env, "meta", "flows", "publish", dir, "survey"), "publish ")
	if s.FlowNamed("survey").Status != graph.Published {
		t.Error("it is not published")
	}
	contains(t, well(t, env, "meta", "flows", "publish", dir, "survey"), "published already")

	fails(t, env, "give --yes", "meta", "flows", "deprecate", dir, "survey")
	well(t, env, "meta", "flows", "deprecate", dir, "survey", "--yes")
	if s.FlowNamed("survey").Status != graph.Deprecated {
		t.Error("it is not deprecated")
	}
	fails(t, env, "deprecated, which is for good", "meta", "flows", "push", dir, "survey")
}

// What the log of Meta's side shows is the proof.
func TestADryRunChangesNothing(t *testing.T) {
	s, env := metaSite(t)
	env["META_APP_SECRET"], env["META_VERIFY_TOKEN"] = "app-geheim", "verify-geheim"
	dir := folder(t, map[string]string{"survey/flow.json": asking, "new/flow.json": goodFlow, "old/flow.json": goodFlow})
	well(t, env, "meta", "flows", "push", dir, "survey", "old", "--endpoint", endpointURL)
	s.AddFlow(metaAccount, graphtest.Flow{Name: "elsewhere", JSON: []byte(goodFlow)})
	s.Change(s.FlowNamed("old").ID, func(f *graphtest.Flow) { f.Status = graph.Published })
	if err := os.WriteFile(filepath.Join(dir, "survey", "flow.json"), []byte(strings.Replace(asking, "Word", "Other", 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	before, files := len(s.Writes()), snapshot(t, dir)
	for _, c := range []struct {
		args []string
		says string
	}{
		{[]string{"flows", "push", dir, "--endpoint", "https://other.example.com/{flow}", "--dry-run"}, "would set the endpoint to https://other.example.com/survey"},
		{[]string{"flows", "push", dir, "--dry-run"}, "would create, category OTHER"},
		{[]string{"flows", "pull", dir, "--dry-run", "--overwrite"}, "would write " + filepath.Join(dir, "survey", "flow.json")},
		{[]string{"flows", "pull", dir, "elsewhere", "--dry-run"}, "would add it to the lock file"},
		{[]string{"flows", "publish", dir, "new", "--dry-run"}, ""},
		{[]string{"flows", "deprecate", dir, "old", "--dry-run"}, "would deprecate"},
		{[]string{"flows", "diff", dir}, "changed here"},
		{[]string{"subscribe", "--dry-run", "--callback-url", "https://flows.example.com/webhooks/whatsapp"}, "would subscribe the app " + metaApp + " to messages, flows"},
		{[]string{"send", "old", "--to", "+4915112345678", "--dry-run"}, "would send"},
		{[]string{"numbers"}, metaPhone},
		{[]string{"health"}, "AVAILABLE"},
	} {
		_, stdout, _ := metaRun(t, env, append([]string{"meta"}, c.args...)...)
		contains(t, stdout, c.says)
		if after := s.Writes(); len(after) != before {
			t.Fatalf("%v sent %v", c.args, after[before:])
		}
		if after := snapshot(t, dir); after != files {
			t.Fatalf("%v wrote files:\n%s\nwas\n%s", c.args, after, files)
		}
	}
}

// snapshot is every file of a directory with its content.
func snapshot(t *testing.T, dir string) string {
	t.Helper()
	var all strings.Builder
	err := filepath.WalkDir(dir, func(path string, entry os.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		text, err := os.ReadFile(path)
		all.WriteString(path + "\n" + string(text) + "\n")
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all.String()
}

func TestPushValidatesFirst(t *testing.T) {
	s, env := metaSite(t)
	dir := folder(t, map[string]string{"bad/flow.json": badFlow, "good/flow.json": goodFlow})
	out := fails(t, env, "nothing was pushed: Meta would refuse 1 of 2 flows", "meta", "flows", "push", dir)
	contains(t, out, "bad/flow.json:2:37: error INVALID_PROPERTY_KEY", "^^^^^^^")
	if len(s.Log()) != 0 {
		t.Errorf("Meta was called: %v", s.Log())
	}
	s.Check = func([]byte) []validate.Problem { return nil }
	contains(t, well(t, env, "meta", "flows", "push", dir, "--force"), "upload")
}

// Meta knows more than our validator: what it says is shown where it stands.
func TestMetasOwnErrorsStandAtOurLines(t *testing.T) {
	s, env := metaSite(t)
	dir := folder(t, map[string]string{"survey/flow.json": goodFlow})
	file := filepath.Join(dir, "survey", "flow.json")
	s.Check = func([]byte) []validate.Problem {
		at := validate.Span{LineStart: 3, LineEnd: 3, ColumnStart: 34, ColumnEnd: 40}
		return []validate.Problem{
			{Error: "NEW_RULE", ErrorType: "FLOW_JSON_ERROR", Message: "no \x1b[31mDone", Span: at, Pointers: []validate.Pointer{{Span: at, Path: "screens[0]"}}},
			{Error: "ELSEWHERE", ErrorType: "FLOW_JSON_ERROR", Message: "beyond the end", Span: validate.Span{LineStart: 4000, LineEnd: 4000, ColumnStart: 1, ColumnEnd: 2}},
		}
	}
	want := file + `:3:34: error NEW_RULE no ·[31mDone
    3 |     {"type": "Footer", "label": "Done", "on-click-action": {"name": "complete", "payload": {}}…
      | ` + strings.Repeat(" ", 33) + "^^^^^^\n" + file + ":4000:1: error ELSEWHERE beyond the end\n"
	out := fails(t, env, "1 of 1 flows have errors at Meta", "meta", "flows", "push", dir)
	contains(t, out, "Meta's own validation found:\n"+want)
	// They are told again, until they are gone.
	contains(t, fails(t, env, "1 of 1 flows have errors at Meta", "meta", "flows", "push", dir), want)

	var flows []struct {
		Errors []validate.Problem `json:"validation_errors"`
	}
	if err := json.Unmarshal([]byte(fails(t, env, "have errors at Meta", "meta", "flows", "push", dir, "--json")), &flows); err != nil || len(flows) != 1 || len(flows[0].Errors) != 2 || flows[0].Errors[0].Pointers[0].Path != "screens[0]" {
		t.Errorf("%v %+v", err, flows)
	}
}

func TestAPublishedFlowIsChangedOrCloned(t *testing.T) {
	for name, old := range map[string]bool{"a new one becomes a draft": false, "an old one is cloned": true} {
		t.Run(name, func(t *testing.T) {
			s, env := metaSite(t)
			well(t, env, "meta", "subscribe", "--account-only")
			dir := folder(t, map[string]string{"survey/flow.json": asking})
			well(t, env, "meta", "flows", "push", dir, "--endpoint", endpointURL, "--category", "SURVEY")
			well(t, env, "meta", "flows", "publish", dir, "survey")
			first := s.FlowNamed("survey")
			s.Change(first.ID, func(f *graphtest.Flow) { f.Old = old })
			changed := strings.Replace(asking, "Word", "Other", 1)
			if err := os.WriteFile(filepath.Join(dir, "survey", "flow.json"), []byte(changed), 0o600); err != nil {
				t.Fatal(err)
			}
			contains(t, well(t, env, "meta", "flows", "push", dir, "--dry-run"), "would upload", "makes it a draft", "a clone takes its place")
			out := well(t, env, "meta", "flows", "push", dir)
			if !old {
				contains(t, out, "survey "+first.ID, "is a draft now")
				if f := s.Flow(first.ID); string(f.JSON) != changed || f.Status != graph.Draft || string(f.Versions[0]) != asking {
					t.Errorf("%+v", f)
				}
				return
			}
			clone := s.FlowNamed("survey 2")
			contains(t, out, "clone "+first.ID+` as "survey 2", which is `+clone.ID, "139001", "deprecate --former")
			if string(clone.JSON) != changed || clone.EndpointURI != first.EndpointURI || clone.ApplicationID != metaApp || !slices.Equal(clone.Categories, []string{"SURVEY"}) {
				t.Errorf("%+v", clone)
			}
			if f := s.Flow(first.ID); f.Status != graph.Published || string(f.JSON) != asking {
				t.Errorf("the old one: %+v", f)
			}
			contains(t, well(t, env, "meta", "flows", "push", dir), "nothing to do")
			well(t, env, "meta", "flows", "publish", dir, "survey")
			contains(t, well(t, env, "meta", "flows", "deprecate", dir, "survey", "--former", "--yes"), "deprecate "+first.ID)
			if s.Flow(first.ID).Status != graph.Deprecated || s.Flow(clone.ID).Status != graph.Published {
				t.Error("the wrong one was deprecated")
			}

			// Also when only the endpoint is to be changed.
			s.Change(clone.ID, func(f *graphtest.Flow) { f.Old = true })
			well(t, env, "meta", "flows", "push", dir, "--endpoint", "https://other.example.com/{flow}")
			third := s.FlowNamed("survey 3")
			if third.EndpointURI != "https://other.example.com/survey" || string(third.JSON) != changed {
				t.Errorf("%+v", third)
			}
			contains(t, well(t, env, "meta", "flows", "push", dir), "survey "+third.ID+": nothing to do")
		})
	}
}

func TestWhatOthersChangedAtMetaIsNotLost(t *testing.T) {
	s, env := metaSite(t)
	dir := folder(t, map[string]string{"survey/flow.json": goodFlow})
	file := filepath.Join(dir, "survey", "flow.json")
	well(t, env, "meta", "flows", "push", dir)
	id := s.FlowNamed("survey").ID

	// The Flow Builder writes the same in another layout: that is no change.
	s.Change(id, func(f *graphtest.Flow) { f.JSON = []byte(strings.ReplaceAll(goodFlow, "\n  ", " ")) })
	contains(t, well(t, env, "meta", "flows", "diff", dir), "same")

	there := strings.Replace(goodFlow, `"First"`, `"Changed there"`, 1)
	s.Change(id, func(f *graphtest.Flow) { f.JSON = []byte(there) })
	out := fails(t, env, "1 flows differ", "meta", "flows", "diff", dir)
	contains(t, out, "changed at Meta", `-      "title": "Changed there",`, `+      "title": "First",`, "@@ ")
	if err := os.WriteFile(file, []byte(strings.Replace(goodFlow, "Done", "Ready", 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	contains(t, fails(t, env, "1 flows differ", "meta", "flows", "diff", dir), "changed on both sides")
	fails(t, env, "survey: the flow was changed at Meta since the last push", "meta", "flows", "push", dir)
	fails(t, env, "was changed here since the last push or pull", "meta", "flows", "pull", dir)
	if string(s.Flow(id).JSON) != there {
		t.Fatal("Meta's was overwritten")
	}
	well(t, env, "meta", "flows", "pull", dir, "--overwrite")
	if text, err := os.ReadFile(file); err != nil || string(text) != there {
		t.Errorf("pulled %s, %v", text, err)
	}
	contains(t, well(t, env, "meta", "flows", "diff", dir, "survey"), "same")

	s.Change(id, func(f *graphtest.Flow) { f.JSON = []byte(goodFlow) })
	well(t, env, "meta", "flows", "pull", dir) // unchanged here: no flag is needed
	s.Change(id, func(f *graphtest.Flow) { f.JSON = []byte(there) })
	well(t, env, "meta", "flows", "push", dir, "--overwrite")
	if string(s.Flow(id).JSON) != goodFlow {
		t.Error("--overwrite did not")
	}
}

func TestPullBeginsAFolder(t *testing.T) {
	s, env := metaSite(t)
	dir := t.TempDir()
	s.AddFlow(metaAccount, graphtest.Flow{Name: "Book a table!", JSON: []byte(goodFlow), Status: graph.Published})
	s.AddFlow(metaAccount, graphtest.Flow{Name: "../../etc", JSON: []byte(asking), EndpointURI: "https://flows.example.com/x", ApplicationID: metaApp})
	s.AddFlow(metaAccount, graphtest.Flow{Name: "gone", JSON: []byte(goodFlow), Status: graph.Deprecated})
	s.AddFlow(metaAccount, graphtest.Flow{Name: "empty"})
	contains(t, well(t, env, "meta", "flows", "pull", dir), "Book-a-table", "etc", "has no Flow JSON")
	for _, want := range []string{"Book-a-table/flow.json", "etc/flow.json", "meta.production.lock"} {
		if _, err := os.Stat(filepath.Join(dir, want)); err != nil {
			t.Error(err)
		}
	}
	if _, err := os.Stat(filepath.Join(dir, "gone")); err == nil {
		t.Error("a deprecated flow was pulled")
	}
	contains(t, well(t, env, "meta", "flows", "diff", dir), "Book-a-table", "same", "only at Meta")
	fails(t, env, "there is no flow other at Meta, which has Book-a-table", "meta", "flows", "pull", dir, "other")
}

func TestAFlowThatTheLockDoesNotKnow(t *testing.T) {
	s, env := metaSite(t)
	id := s.AddFlow(metaAccount, graphtest.Flow{Name: "survey", JSON: []byte(asking)})
	dir := folder(t, map[string]string{"survey/flow.json": goodFlow})
	fails(t, env, "which the lock file does not know", "meta", "flows", "push", dir)
	contains(t, well(t, env, "meta", "flows", "push", dir, "--adopt"), "adopt "+id)
	if string(s.Flow(id).JSON) != goodFlow {
		t.Error("it was not pushed")
	}
}

// A process that dies between two calls loses nothing: the next push goes on.
func TestAPushThatBrokeOffGoesOn(t *testing.T) {
	s, env := metaSite(t)
	dir := folder(t, map[string]string{"survey/flow.json": asking})
	s.Fail("POST */assets", graphtest.Failure{Status: 400, Code: 100, Message: "broken off"})
	s.Fail("POST "+metaAccount+"/flows", graphtest.Failure{Status: 400, Code: 139000, Message: "no flows for you"})
	if out := fails(t, env, "verify it in Business Manager", "meta", "flows", "push", dir, "--endpoint", endpointURL); strings.Contains(out, "create") {
		t.Errorf("it says that it created what Meta refused:\n%s", out)
	}
	fails(t, env, "broken off", "meta", "flows", "push", dir, "--endpoint", endpointURL)
	s.Fail("POST "+s.FlowNamed("survey").ID, graphtest.Failure{Status: 400, Code: 100, Message: "once more"})
	fails(t, env, "once more", "meta", "flows", "push", dir)
	well(t, env, "meta", "flows", "push", dir)
	if f := s.FlowNamed("survey"); string(f.JSON) != asking || f.EndpointURI == "" {
		t.Errorf("%+v", f)
	}
	creations := 0
	for _, w := range s.Writes() {
		if w.Path == metaAccount+"/flows" {
			creations++
		}
	}
	if creations != 2 { // the one that was refused, and the one that was not
		t.Errorf("it was created %d times", creations-1)
	}
}

// Nobody knows whether Meta has carried out what it did not answer: creating
// again would fail, or make two of them.
func TestACreationWithoutAnAnswerIsNotRepeated(t *testing.T) {
	s, env := metaSite(t)
	dir := folder(t, map[string]string{"survey/flow.json": goodFlow})
	s.Fail("POST "+metaAccount+"/flows", graphtest.Failure{Hangup: true, CarriedOut: true})
	fails(t, env, "it may have been carried out or not", "meta", "flows", "push", dir)
	if n := len(s.Writes()); n != 1 {
		t.Errorf("%d calls", n)
	}
	made := s.FlowNamed("survey").ID
	contains(t, well(t, env, "meta", "flows", "push", dir, "--dry-run"), "would take over "+made)
	contains(t, well(t, env, "meta", "flows", "push", dir), "take over "+made+` ("survey"), whose creation broke off`)
	if f := s.FlowNamed("survey"); string(f.JSON) != goodFlow || f.ID != made {
		t.Errorf("%+v", f)
	}
	if n := creations(s); n != 1 {
		t.Errorf("it was created %d times", n)
	}
}

func TestALongPauseIsTold(t *testing.T) {
	c := newCommand(t.Context(), nil)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := c.process.pause(ctx, time.Minute); err == nil || c.stderr.String() != "note: Meta asks for patience: trying again in 1m0s\n" {
		t.Errorf("%v, %q", err, c.stderr.String())
	}
	if err := c.process.pause(t.Context(), time.Millisecond); err != nil {
		t.Error(err)
	}
}

func TestEachEnvironmentHasItsOwnFlows(t *testing.T) {
	s, env := metaSite(t)
	const other = "202290129340398"
	s.AddAccount(other)
	dir := folder(t, map[string]string{"survey/flow.json": goodFlow})
	well(t, env, "meta", "flows", "push", dir)
	fails(t, env, "is of the WhatsApp Business Account "+metaAccount, "meta", "flows", "push", dir, "--waba", other)
	well(t, env, "meta", "flows", "push", dir, "--waba", other, "--env", "staging")
	for _, file := range []string{"meta.production.lock", "meta.staging.lock"} {
		if _, err := os.Stat(filepath.Join(dir, file)); err != nil {
			t.Error(err)
		}
	}
	fails(t, env, "the environment is", "meta", "flows", "push", dir, "--env", "../x")
}

func TestSubscribe(t *testing.T) {
	s, env := metaSite(t)
	const url = "https://flows.example.com/webhooks/whatsapp"
	fails(t, env, "META_APP_SECRET", "meta", "subscribe")
	env["META_APP_SECRET"] = "app-geheim,older"
	fails(t, env, "no webhook yet", "meta", "subscribe")
	fails(t, env, "META_VERIFY_TOKEN", "meta", "subscribe", "--callback-url", url)
	env["META_VERIFY_TOKEN"] = "geheim, but wrong"
	fails(t, env, "with the same verify token?", "meta", "subscribe", "--callback-url", url)
	env["META_VERIFY_TOKEN"] = "verify-geheim"
	contains(t, well(t, env, "meta", "subscribe", "--callback-url", url), "subscribe the app "+metaApp+" to messages, flows at "+url)
	before := len(s.Writes())
	contains(t, well(t, env, "meta", "subscribe", "--callback-url", url), "nothing to do")
	contains(t, well(t, env, "meta", "subscribe", "--json"), `"done": []`, `"flows"`)
	if after := len(s.Writes()); after != before {
		t.Errorf("what was there was done again: %v", s.Writes()[before:])
	}
	if subs := s.Subscriptions(metaApp); len(subs) != 1 || !slices.Equal(subs[0].Fields, []string{"messages", "flows"}) || !slices.Equal(s.SubscribedApps(metaAccount), []string{metaApp}) {
		t.Errorf("%+v", subs)
	}

	// What the app had is kept, and is not taken away from another system.
	s.SetSubscription(metaApp, graph.Subscription{Object: graph.AccountObject, CallbackURL: "https://crm.example.com/", Active: true, Fields: []string{"account_update"}})
	fails(t, env, "--replace takes them from there", "meta", "subscribe", "--callback-url", url)
	well(t, env, "meta", "subscribe", "--callback-url", url, "--replace")
	if subs := s.Subscriptions(metaApp); !slices.Equal(subs[0].Fields, []string{"account_update", "messages", "flows"}) || subs[0].CallbackURL != url {
		t.Errorf("%+v", subs)
	}
	env["META_APP_ID"] = "1"
	fails(t, env, "the access token is of the app "+metaApp, "meta", "subscribe")
}

func TestSendOpensAFlowRightly(t *testing.T) {
	s, env := metaSite(t)
	secret := []byte("token geheim") // spaces belong to a secret, as at the edge
	env["FLOW_TOKEN_SECRET"] = string(secret) + ",older"
	s.AddFlow(metaAccount, graphtest.Flow{Name: "Survey 2", Status: graph.Published, JSON: []byte(asking), EndpointURI: "https://flows.example.com/flows/endpoint/survey"})
	s.AddFlow(metaAccount, graphtest.Flow{Name: "plain", Status: graph.Published, JSON: []byte(goodFlow)})
	s.AddFlow(metaAccount, graphtest.Flow{Name: "greeting", Status: graph.Published, JSON: []byte(greeting)})
	draft := s.AddFlow(metaAccount, graphtest.Flow{Name: "draft", JSON: []byte(goodFlow)})
	gone := s.AddFlow(metaAccount, graphtest.Flow{Name: "gone", Status: graph.Deprecated, JSON: []byte(goodFlow)})
	s.AddFlow(metaAccount, graphtest.Flow{Name: "blocked", Status: graph.Blocked, JSON: []byte(goodFlow)})

	for _, c := range []struct {
		name  string
		args  []string
		says  string
		check func(graphtest.Message) bool
	}{
		{"with an endpoint", []string{"survey"}, "opens  with data_exchange", func(m graphtest.Message) bool {
			return m.Action == "data_exchange" && m.Screen == "" && m.Mode == "published" && m.To == "4915112345678" && m.From == metaPhone && m.CTA == "Open"
		}},
		{"by its name at Meta", []string{"Survey 2"}, "flow   survey", func(m graphtest.Message) bool { return m.Action == "data_exchange" }},
		{"without an endpoint", []string{"plain", "--body", "Hi", "--cta", "Start"}, "opens  with navigate to FIRST", func(m graphtest.Message) bool {
			return m.Action == "navigate" && m.Screen == "FIRST" && m.Data == nil && m.Body == "Hi" && m.CTA == "Start"
		}},
		{"with data", []string{"greeting", "--data", `{"greeting":"Hello"}`}, "navigate to HELLO", func(m graphtest.Message) bool { return string(m.Data) == `{"greeting":"Hello"}` }},
		{"a draft", []string{draft, "--draft"}, "DRAFT", func(m graphtest.Message) bool { return m.Mode == "draft" && m.FlowID == draft }},
		{"an endpoint's flow by navigate", []string{"survey", "--action", "navigate"}, "navigate to FIRST", func(m graphtest.Message) bool { return m.Screen == "FIRST" }},
		{"a template", []string{"survey", "--template", "ask", "--language", "de", "--param", "Ann, Bob"}, "template ask (de)", func(m graphtest.Message) bool {
			return m.Template == "ask/de" && m.Body == "Ann, Bob;" && m.Action == ""
		}},
	} {
		out := well(t, env, append([]string{"meta", "send", "--to", "+49 151 12345678", "--user", "customer-1", "--name", "Ann"}, c.args...)...)
		all := s.Messages()
		m := all[len(all)-1]
		contains(t, out, "sent "+m.ID, c.says, "signed, valid until")
		if !c.check(m) {
			t.Errorf("%s: %+v", c.name, m)
		}
		claims, err := flowtoken.Verify([][]byte{secret}, m.Token, time.Now())
		if err != nil || claims.User != "customer-1" || claims.Name != "Ann" || time.Until(claims.Expires) > 72*time.Hour || time.Until(claims.Expires) < 71*time.Hour {
			t.Errorf("%s: token of %+v, %v", c.name, claims, err)
		}
		if strings.HasPrefix(c.args[0], "survey") && claims.Flow != "survey" {
			t.Errorf("%s: the token is for %q, which the edge would refuse", c.name, claims.Flow)
		}
		if strings.Contains(out, m.Token) {
			t.Errorf("%s: the token is printed", c.name)
		}
	}

	sent := len(s.Messages())
	for _, c := range []struct{ want, args string }{
		{"give --data with greeting", "greeting"},
		{"declares no data of the name other", `greeting --data {"greeting":"x","other":1}`},
		{"no JSON object", "greeting --data [1]"},
		{"no screen the flow can begin with, expected FIRST", "plain --screen LAST"},
		{"it can only be opened with navigate", "plain --action data_exchange"},
		{"the flow is a draft", "draft"},
		{"is PUBLISHED, no draft", "plain --draft"},
		{"no flow of the name other", "other"},
		{"no such object", "12345"},
		{"neither a phone number", "plain --to 12"},
		{"--template needs --language", "survey --template ask"},
		{"belong to --template", "survey --language de"},
		{"--expires is", "survey --expires 1000h"},
		{"is deprecated, which is for good", gone},
		{"is blocked, because its endpoint failed", "blocked"},
	} {
		args := append([]string{"meta", "send", "--to", "+4915112345678"}, strings.Fields(c.args)...)
		if strings.Contains(c.args, "--to") {
			args = append([]string{"meta", "send"}, strings.Fields(c.args)...)
		}
		fails(t, env, c.want, args...)
	}
	if n := len(s.Messages()); n != sent {
		t.Errorf("%d messages were sent by commands that failed", n-sent)
	}
}

func TestSendByTheLockFileCarriesTheVersion(t *testing.T) {
	s, env := metaSite(t)
	env["FLOW_TOKEN_SECRET"] = "geheim"
	dir := folder(t, map[string]string{"survey/flow.json": asking})
	fails(t, env, "no lock file", "meta", "send", "survey", "--to", "4915112345678", "--dir", dir)
	well(t, env, "meta", "subscribe", "--account-only")
	well(t, env, "meta", "flows", "push", dir, "--endpoint", endpointURL)
	well(t, env, "meta", "flows", "publish", dir, "survey")
	well(t, env, "meta", "send", "survey", "--to", "US.13491208655302741918", "--dir", dir)
	m := s.Messages()[0]
	claims, err := flowtoken.Verify([][]byte{[]byte("geheim")}, m.Token, time.Now())
	if err != nil || claims.Flow != "survey" || len(claims.Version) != 64 || claims.User != "US.13491208655302741918" || m.To != claims.User {
		t.Errorf("%+v, %v", claims, err)
	}
}

func TestSendWithoutASecretMakesATokenNobodyGuesses(t *testing.T) {
	s, env := metaSite(t)
	s.AddFlow(metaAccount, graphtest.Flow{Name: "plain", Status: graph.Published, JSON: []byte(goodFlow)})
	for range 2 {
		contains(t, well(t, env, "meta", "send", "plain", "--to", "4915112345678"), "not signed, since FLOW_TOKEN_SECRET is not set")
	}
	m := s.Messages()
	if m[0].Token == m[1].Token || len(m[0].Token) < 26 || flowtoken.IsSigned(m[0].Token) {
		t.Errorf("tokens %q and %q", m[0].Token, m[1].Token)
	}
	var out struct {
		ID     string `json:"message_id"`
		Signed bool   `json:"signed_token"`
	}
	if err := json.Unmarshal([]byte(well(t, env, "meta", "send", "plain", "--to", "4915112345678", "--json")), &out); err != nil || out.ID == "" || out.Signed {
		t.Errorf("%+v, %v", out, err)
	}
}

func TestNumbersAndHealth(t *testing.T) {
	s, env := metaSite(t)
	s.AddNumber(metaAccount, graph.Number{ID: "206540352242922", Display: "+1 555-000-0000", Verification: "NOT_VERIFIED"})
	contains(t, well(t, env, "meta", "numbers"), "PUBLIC KEY\n", metaPhone+"  +1 555-078-3881  Shop  VERIFIED      CONNECTED  GREEN    VALID\n", "NOT_VERIFIED  CONNECTED  GREEN    NONE\n")
	var numbers []struct {
		ID  string `json:"id"`
		Key string `json:"public_key"`
	}
	if err := json.Unmarshal([]byte(well(t, env, "meta", "numbers", "--json")), &numbers); err != nil || len(numbers) != 2 || numbers[0].Key != "VALID" || numbers[1].ID != "206540352242922" {
		t.Errorf("%+v, %v", numbers, err)
	}

	flow := s.AddFlow(metaAccount, graphtest.Flow{Name: "survey", Status: graph.Published, JSON: []byte(goodFlow)})
	s.AddFlow(metaAccount, graphtest.Flow{Name: "gone", Status: graph.Deprecated, JSON: []byte(goodFlow)})
	out := well(t, env, "meta", "health")
	contains(t, out, "token", "account  "+metaAccount, "number", "survey", "AVAILABLE")
	if strings.Contains(out, "gone") {
		t.Errorf("a deprecated flow is listed:\n%s", out)
	}
	s.SetHealth(flow, graph.Health{CanSend: graph.HealthBlocked, Entities: []graph.Entity{{Type: "FLOW", ID: flow, CanSend: graph.HealthBlocked,
		Errors: []graph.HealthError{{Code: 131000, Description: "endpoint is not available", Solution: "Fix the endpoint."}}}}})
	contains(t, fails(t, env, "1 of 5 cannot send", "meta", "health"), "BLOCKED", "endpoint is not available (131000): Fix the endpoint.")
	contains(t, fails(t, env, "1 of 5 cannot send", "meta", "health", "--json"), `"can_send_message": "BLOCKED"`)

	s.AddToken("EAAgeheim-little", graphtest.Token{AppID: metaApp, Scopes: []string{graph.ScopeManagement}, Expires: time.Now().Add(time.Hour).Unix()})
	env["META_ACCESS_TOKEN"] = "EAAgeheim-little"
	contains(t, fails(t, env, "cannot send as they should", "meta", "health"), "the token lacks whatsapp_business_messaging", "the token expires at")
	env["META_ACCESS_TOKEN"] = "EAAgeheim-gone"
	s.AddToken("EAAgeheim-gone", graphtest.Token{AppID: metaApp, Invalid: true})
	fails(t, env, "code 190", "meta", "health")
}

func TestWhatMetaCommandsNeed(t *testing.T) {
	s, env := metaSite(t)
	with := func(name, value string) map[string]string {
		changed := map[string]string{}
		for k, v := range env {
			changed[k] = v
		}
		changed[name] = value
		return changed
	}
	fails(t, with("META_ACCESS_TOKEN", ""), "neither META_ACCESS_TOKEN nor META_ACCESS_TOKEN_FILE is set", "meta", "numbers")
	fails(t, with("META_ACCESS_TOKEN", "geheim geheim"), "white space", "meta", "numbers")
	fails(t, with("META_WABA_ID", ""), "give --waba", "meta", "numbers")
	fails(t, with("META_WABA_ID", "1,2"), "holds 1 and 2: say which with --waba", "meta", "numbers")
	fails(t, with("META_WABA_ID", "shop=1"), "give --waba", "meta", "numbers")
	fails(t, with("META_PHONE_NUMBER_ID", ""), "give --from", "meta", "send", "x", "--to", "4915112345678")
	fails(t, with("META_GRAPH_URL", "http://example.com"), "expected https", "meta", "numbers")
	fails(t, with("META_GRAPH_VERSION", "25"), "no version of the Graph API", "meta", "numbers")
	fails(t, with("META_GRAPH_VERSION", "v1.0"), "2635", "meta", "numbers")
	fails(t, with("META_APP_ID", "Shop"), "META_APP_ID is", "meta", "numbers")
	fails(t, env, "--waba is", "meta", "numbers", "--waba", "x")
	well(t, with("META_WABA_ID", "9,shop="+metaAccount), "meta", "numbers", "--account", "shop")

	s.Header = map[string][]string{"X-App-Usage": {`{"call_count":91}`}}
	if code, _, stderr := metaRun(t, env, "meta", "numbers"); code != 0 || stderr != "note: 91 % of Meta's rate limit of app are used\n" {
		t.Errorf("exit code %d, %q", code, stderr)
	}
}
