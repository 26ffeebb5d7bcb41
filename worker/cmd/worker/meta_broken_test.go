package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/flowjson/validate"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/graph"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/graph/graphtest"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/worker/internal/meta"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/worker/internal/testkit"
)

// creations are the calls that create flows.
func creations(s *graphtest.Server) (n int) {
	for _, w := range s.Writes() {
		if w.Path == metaAccount+"/flows" {
			n++
		}
	}
	return n
}

func write(t *testing.T, text string, path ...string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(path...), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// The lock file is written after Meta's answer: what it says before is all that
// is left of a process that was killed in between.
func TestAPushThatIsKilledWhileMetaCreatesAFlowGoesOn(t *testing.T) {
	s, env := metaSite(t)
	dir := folder(t, map[string]string{"survey/flow.json": goodFlow})
	never := make(chan struct{})
	defer close(never)
	s.Fail("POST "+metaAccount+"/flows", graphtest.Failure{CarriedOut: true, Hold: never, Hangup: true})
	program := exec.CommandContext(t.Context(), os.Args[0], "meta", "flows", "push", dir)
	program.Env = append(os.Environ(), asProgram+"=1")
	for name, value := range env {
		program.Env = append(program.Env, name+"="+value)
	}
	if err := program.Start(); err != nil {
		t.Fatal(err)
	}
	testkit.Eventually(t, "Meta has made the flow", func() bool { return s.FlowNamed("survey").ID != "" })
	fails(t, env, "another `worker meta` is at work in "+dir, "meta", "flows", "push", dir)
	if err := program.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := program.Wait(); err == nil {
		t.Fatal("the push was not killed")
	}
	made := s.FlowNamed("survey")
	contains(t, well(t, env, "meta", "flows", "push", dir), "survey "+made.ID, "take over "+made.ID)
	if f := s.FlowNamed("survey"); f.ID != made.ID || string(f.JSON) != goodFlow || creations(s) != 1 {
		t.Errorf("%+v, created %d times", f, creations(s))
	}
	contains(t, well(t, env, "meta", "flows", "push", dir), "nothing to do")
}

// Each clone that nobody knows would stay at Meta, and take a name.
func TestACloneWithoutAnAnswerIsNotMadeTwice(t *testing.T) {
	s, env := metaSite(t)
	dir := folder(t, map[string]string{"survey/flow.json": goodFlow})
	well(t, env, "meta", "flows", "push", dir)
	well(t, env, "meta", "flows", "publish", dir, "survey")
	first := s.FlowNamed("survey").ID
	s.Change(first, func(f *graphtest.Flow) { f.Old = true })
	changed := strings.Replace(goodFlow, "Done", "Ready", 1)
	write(t, changed, dir, "survey", "flow.json")
	s.Fail("POST "+metaAccount+"/flows", graphtest.Failure{Hangup: true, CarriedOut: true})
	fails(t, env, "it may have been carried out or not", "meta", "flows", "push", dir)
	clone := s.FlowNamed("survey 2").ID
	contains(t, well(t, env, "meta", "flows", "push", dir), "take over "+clone+` ("survey 2")`, "upload the Flow JSON")
	if f := s.Flow(clone); string(f.JSON) != changed || s.FlowNamed("survey 3").ID != "" {
		t.Errorf("%+v", f)
	}
	well(t, env, "meta", "flows", "publish", dir, "survey")
	contains(t, well(t, env, "meta", "flows", "deprecate", dir, "survey", "--former", "--yes"), "deprecate "+first)
}

// What Meta did not make, or refused to make, is made by the next push.
func TestACreationThatDidNotComeAboutIsBegunAnew(t *testing.T) {
	s, env := metaSite(t)
	dir := folder(t, map[string]string{"survey/flow.json": goodFlow})
	s.Fail("POST "+metaAccount+"/flows", graphtest.Failure{Hangup: true}, graphtest.Failure{Code: 139000, Message: "no"})
	fails(t, env, "it may have been carried out or not", "meta", "flows", "push", dir)
	fails(t, env, "code 139000", "meta", "flows", "push", dir)
	if lock, err := os.ReadFile(filepath.Join(dir, "meta.production.lock")); err != nil || strings.Contains(string(lock), "begun") {
		t.Errorf("after a refusal: %s, %v", lock, err)
	}
	contains(t, well(t, env, "meta", "flows", "push", dir), "create, category OTHER")

	// And what somebody published under the name meanwhile is not ours.
	other := folder(t, map[string]string{"lead/flow.json": goodFlow})
	s.Fail("POST "+metaAccount+"/flows", graphtest.Failure{Hangup: true})
	fails(t, env, "it may have been carried out or not", "meta", "flows", "push", other)
	s.AddFlow(metaAccount, graphtest.Flow{Name: "lead", Status: graph.Published, JSON: []byte(goodFlow)})
	fails(t, env, "which the lock file does not know", "meta", "flows", "push", other)
}

func TestOnlyOneWritesInAFolder(t *testing.T) {
	s, env := metaSite(t)
	dir := folder(t, map[string]string{"survey/flow.json": goodFlow})
	well(t, env, "meta", "flows", "push", dir)
	release, err := meta.Alone(dir)
	if err != nil {
		t.Fatal(err)
	}
	before := len(s.Writes())
	for _, args := range [][]string{{"push", dir}, {"pull", dir}, {"publish", dir, "survey"}, {"deprecate", dir, "survey", "--yes"}} {
		fails(t, env, "another `worker meta` is at work in", append([]string{"meta", "flows"}, args...)...)
	}
	if after := s.Writes(); len(after) != before {
		t.Errorf("it sent %v", after[before:])
	}
	for _, args := range [][]string{{"diff", dir}, {"push", dir, "--dry-run"}, {"pull", dir, "--dry-run"}} { // they change nothing
		well(t, env, append([]string{"meta", "flows"}, args...)...)
	}
	release()
	contains(t, well(t, env, "meta", "flows", "push", dir), "nothing to do")
}

// It would become a draft for good.
func TestAFrozenVersionIsNotPushedOverAPublishedFlow(t *testing.T) {
	s, env := metaSite(t)
	old := strings.Replace(goodFlow, `"7.3"`, `"5.0"`, 1)
	id := s.AddFlow(metaAccount, graphtest.Flow{Name: "survey", Status: graph.Published, JSON: []byte(old)})
	dir := t.TempDir()
	well(t, env, "meta", "flows", "pull", dir)
	changed := strings.Replace(old, "Done", "Ready", 1)
	write(t, changed, dir, "survey", "flow.json")
	for _, args := range [][]string{{}, {"--dry-run"}} {
		fails(t, env, "version 5.0 of its Flow JSON is frozen since 9 September 2025", append([]string{"meta", "flows", "push", dir}, args...)...)
	}
	if f := s.Flow(id); f.Status != graph.Published || string(f.JSON) != old {
		t.Errorf("%+v", f)
	}
	write(t, strings.Replace(changed, `"5.0"`, `"7.3"`, 1), dir, "survey", "flow.json")
	well(t, env, "meta", "flows", "push", dir)
	write(t, changed, dir, "survey", "flow.json")
	well(t, env, "meta", "flows", "push", dir) // a draft harms nobody
	s.Change(id, func(f *graphtest.Flow) { f.Status = graph.Published })
	write(t, old, dir, "survey", "flow.json")
	well(t, env, "meta", "flows", "push", dir, "--force")
}

func TestOneEndpointForSeveralFlowsIsRefused(t *testing.T) {
	s, env := metaSite(t)
	dir := folder(t, map[string]string{"survey/flow.json": asking, "lead/flow.json": asking, "plain/flow.json": goodFlow})
	const one = "https://flows.example.com/flows/endpoint"
	fails(t, env, "is the same for lead, survey", "meta", "flows", "push", dir, "--endpoint", one)
	if w := s.Writes(); len(w) != 0 {
		t.Errorf("it sent %v", w)
	}
	well(t, env, "meta", "flows", "push", dir, "survey", "plain", "--endpoint", one)
	if f := s.FlowNamed("survey"); f.EndpointURI != one {
		t.Errorf("%+v", f)
	}
}

func TestAFlowNamedInAnotherAlphabetIsPulled(t *testing.T) {
	s, env := metaSite(t)
	s.AddFlow(metaAccount, graphtest.Flow{Name: "survey", JSON: []byte(goodFlow)})
	id := s.AddFlow(metaAccount, graphtest.Flow{Name: "漢字", JSON: []byte(goodFlow)})
	dir := t.TempDir()
	well(t, env, "meta", "flows", "pull", dir)
	for _, name := range []string{"survey", "flow-" + id} {
		if _, err := os.Stat(filepath.Join(dir, name, "flow.json")); err != nil {
			t.Error(err)
		}
	}
	contains(t, well(t, env, "meta", "flows", "push", dir), "flow-"+id+" "+id+": nothing to do")
}

// Layout is no difference, but Meta's errors name lines.
func TestMetasErrorsStandAtOurLinesInAnotherLayoutToo(t *testing.T) {
	s, env := metaSite(t)
	s.Check = func(text []byte) []validate.Problem {
		line := 1 + strings.Count(string(text[:strings.Index(string(text), "Done")]), "\n")
		at := validate.Span{LineStart: line, LineEnd: line, ColumnStart: 1, ColumnEnd: 2}
		return []validate.Problem{{Error: "NEW_RULE", ErrorType: "FLOW_JSON_ERROR", Message: "no", Span: at, Pointers: []validate.Pointer{{Span: at, Path: "x"}}}}
	}
	dir := folder(t, map[string]string{"survey/flow.json": goodFlow})
	contains(t, fails(t, env, "have errors at Meta", "meta", "flows", "push", dir), "flow.json:3:1: error NEW_RULE")
	write(t, "\n\n"+goodFlow, dir, "survey", "flow.json")
	contains(t, fails(t, env, "have errors at Meta", "meta", "flows", "push", dir), "flow.json:5:1: error NEW_RULE")
}

// One number that Meta does not tell of, as one that is not registered, hides
// nothing of the others.
func TestWhatMetaRefusesToTellHidesNothing(t *testing.T) {
	s, env := metaSite(t)
	const other = "206540352242922"
	s.AddNumber(metaAccount, graph.Number{ID: other, Display: "+1 555-000-0000"})
	refusal := graphtest.Failure{Code: 133010, Message: "Account not registered"}
	key := "GET " + other + "/whatsapp_business_encryption"
	s.Fail(key, refusal, refusal)
	contains(t, fails(t, env, "1 of 2 numbers is not known: GET /"+other, "meta", "numbers"), metaPhone+"  +1 555-078-3881  Shop  VERIFIED  CONNECTED  GREEN    VALID\n", "UNKNOWN\n")
	contains(t, fails(t, env, "1 of 2 numbers is not known", "meta", "numbers", "--json"), `"public_key": "VALID"`, `"public_key": "UNKNOWN"`, "133010")

	s.AddFlow(metaAccount, graphtest.Flow{Name: "survey", JSON: []byte(goodFlow)})
	s.Fail("GET "+other, refusal, refusal)
	contains(t, fails(t, env, "1 of 5 cannot send", "meta", "health"), "account  "+metaAccount, "survey", "UNKNOWN", "not registered with the Cloud API")
	contains(t, fails(t, env, "1 of 5 cannot send", "meta", "health", "--json"), `"refused": true`, `"name": "survey"`)
	// What was found before an error is printed too.
	s.Fail("GET "+metaAccount+"/phone_numbers", graphtest.Failure{Code: 987654, Message: "strange"})
	contains(t, fails(t, env, "code 987654", "meta", "health"), "token", "account  "+metaAccount)

	// And publishing is checked with the numbers that it knows.
	well(t, env, "meta", "subscribe", "--account-only")
	dir := folder(t, map[string]string{"ask/flow.json": asking})
	well(t, env, "meta", "flows", "push", dir, "--endpoint", endpointURL)
	s.Fail("GET "+metaPhone+"/whatsapp_business_encryption", refusal, refusal)
	s.SetKey(other, graph.PublicKey{PEM: metaKey, Signature: graph.SignatureValid})
	contains(t, well(t, env, "meta", "flows", "publish", dir, "ask", "--dry-run"), "VALID on "+other)
	s.Fail(key, refusal)
	contains(t, fails(t, env, "1 checks fail", "meta", "flows", "publish", dir, "ask", "--dry-run"), "no number has one, as far as Meta tells (GET /"+other)
}

// A draft among them, or one that was deleted, keeps none of the others alive.
func TestAllThatAFlowTookThePlaceOfAreDeprecated(t *testing.T) {
	s, env := metaSite(t)
	dir := folder(t, map[string]string{"survey/flow.json": goodFlow})
	well(t, env, "meta", "flows", "push", dir)
	draft := s.AddFlow(metaAccount, graphtest.Flow{Name: "survey a", JSON: []byte(goodFlow)})
	live := s.AddFlow(metaAccount, graphtest.Flow{Name: "survey b", JSON: []byte(goodFlow), Status: graph.Published})
	file := filepath.Join(dir, "meta.production.lock")
	lock, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	write(t, strings.Replace(string(lock), `"name": "survey"`, `"name": "survey", "former_ids": ["`+draft+`", "123", "`+live+`"]`, 1), file)
	contains(t, well(t, env, "meta", "flows", "deprecate", dir, "survey", "--former", "--yes"), draft+" is a draft", "123 is not at Meta any more", "deprecate "+live)
	if s.Flow(live).Status != graph.Deprecated {
		t.Error("it is not deprecated")
	}
}
