package play

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/conversation"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/flowjson/validate"
)

const examplesDir = "../../examples"

// examples are the folders of examples/.
func examples(t testing.TB) []*Example {
	t.Helper()
	entries, err := os.ReadDir(examplesDir)
	if err != nil {
		t.Fatal(err)
	}
	var all []*Example
	for _, entry := range entries {
		if !entry.IsDir() {
			continue
		}
		example, err := Open(filepath.Join(examplesDir, entry.Name()))
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, example)
	}
	if len(all) < 6 {
		t.Fatalf("%d examples, expected six at least", len(all))
	}
	return all
}

func testUpstreams(t testing.TB) *Upstreams {
	t.Helper()
	upstreams, err := NewUpstreams()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = upstreams.Close() })
	return upstreams
}

func TestExamplesInProcess(t *testing.T) {
	for _, example := range examples(t) {
		t.Run(example.Name, func(t *testing.T) {
			for _, c := range example.Conversations {
				t.Run(c.Name, func(t *testing.T) {
					player, err := example.InProcess(c, testUpstreams(t))
					if err != nil {
						t.Fatal(err)
					}
					if _, err := player.Play(t.Context(), c); err != nil {
						t.Error(err)
					}
				})
			}
		})
	}
}

func TestExamplesAreFlowsThatWhatsAppAccepts(t *testing.T) {
	for _, example := range examples(t) {
		report := validate.Flow(example.Definition.FlowJSON())
		for _, problem := range append(report.Errors, report.Warnings...) {
			t.Errorf("%s: %s", example.Name, problem.Message)
		}
	}
}

func TestFoldersOfFlows(t *testing.T) {
	all, err := Folders(examplesDir)
	if err != nil || len(all) != len(examples(t)) {
		t.Errorf("the examples are %q (%v)", all, err)
	}
	own := filepath.Join(examplesDir, "survey")
	if one, err := Folders(own); err != nil || len(one) != 1 || one[0] != own {
		t.Errorf("one flow is %q (%v)", one, err)
	}
	if none, err := Folders(t.TempDir()); err == nil || !strings.Contains(err.Error(), "holds no flow") {
		t.Errorf("an empty folder is %q (%v)", none, err)
	}
}

// asking is a flow that asks an upstream at its one screen.
func asking(t *testing.T) *Example {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "asking")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string]string{
		"flow.json": `{"version": "7.3", "data_api_version": "4.0", "routing_model": {"ASK": []}, "screens": [{
			"id": "ASK", "title": "Ask", "terminal": true,
			"data": {"hint": {"type": "string", "__example__": ""}},
			"layout": {"type": "SingleColumnLayout", "children": [
				{"type": "TextBody", "text": "${data.hint}"},
				{"type": "TextInput", "name": "word", "label": "Word"},
				{"type": "Footer", "label": "Go", "on-click-action": {"name": "data_exchange", "payload": {"word": "${form.word}"}}}]}}]}`,
		"logic.yaml": `{"screens": {"ASK": {
			"data": {"hint": "'Say something.'"},
			"fetch": {"said": {"upstream": "ears", "method": "POST", "path": "'/said?at=1'", "timeout": "300ms", "body": {"word": "form.word", "nonce": "randomDigits(8)"}}},
			"check": [{"unless": "fetch.said.ok", "message": "'Nobody hears you.'"}],
			"next": {"complete": {"params": {"heard": "fetch.said.body.heard"}}}}}}`,
		"conversation.yaml": `conversations: [{name: none, steps: [{do: ping}]}]`,
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	example, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	return example
}

// The player must see what a flow does wrong: each of these differs in one
// thing from a conversation that goes well.
func TestThePlayerNotices(t *testing.T) {
	const good = `{do: exchange, from: ASK, send: {word: hi}, completes: {heard: loud},
		fetches: [{upstream: ears, request: "POST /said?at=1", body: {word: hi, nonce: "*"}, reply: {heard: loud}}]}`
	cases := []struct{ name, step, problem string }{
		{"nothing, when all is well", good, ""},
		{"nothing, when the upstream is down as foreseen",
			`{do: exchange, from: ASK, send: {word: hi}, shows: ASK, message: Nobody hears you., fetches: [{upstream: ears, request: "POST /said?at=1", down: true}]}`, ""},
		{"nothing, when the upstream is slow as foreseen",
			`{do: exchange, from: ASK, send: {word: hi}, shows: ASK, exactly: {hint: Say something.}, message: "*", fetches: [{upstream: ears, request: "POST /said?at=1", delay: 1m}]}`, ""},
		{"another screen", `{do: init, shows: OTHER}`, `step 1, init: the answer is {"screen":"ASK","data":{"hint":"Say something."}}, expected the screen OTHER`},
		{"other data", `{do: init, shows: ASK, data: {hint: Be quiet.}}`, `data.hint is "Say something.", expected "Be quiet."`},
		{"more data", `{do: init, shows: ASK, exactly: {}}`, `data.hint is "Say something.", expected no such key`},
		{"a message that is not there", `{do: init, shows: ASK, message: Oops}`, `error_message is "", expected "Oops"`},
		{"a message nobody expects", `{do: exchange, from: ASK, send: {word: hi}, shows: ASK, fetches: [{upstream: ears, request: "POST /said?at=1", status: 500}]}`,
			`error_message is "Nobody hears you.", expected ""`},
		{"the end", `{do: init, closes: true}`, "expected SUCCESS without params"},
		{"other params", strings.Replace(good, "completes: {heard: loud}", "completes: {heard: soft}", 1), `params.heard is "loud", expected "soft"`},
		{"a body", strings.Replace(good, "body: {word: hi,", "body: {word: ho,", 1), `body.word is "hi", expected "ho"`},
		{"a path", strings.Replace(good, "POST /said?at=1", "POST /said?at=2", 1), "a request that nobody expected: ears: POST /said?at=1"},
		{"a request too many", `{do: exchange, from: ASK, send: {word: hi}, shows: ASK, message: "*"}`, "a request that nobody expected"},
		{"a request too few", `{do: init, shows: ASK, fetches: [{upstream: ears, request: "POST /said?at=1"}]}`, "the upstream ears did not get POST /said?at=1"},
		{"nothing, when the edge may know the answer", `{do: init, shows: ASK, fetches: [{upstream: ears, request: "POST /said?at=1", cached: true}]}`, ""},
		{"a payload with keys the screen does not post", `{do: exchange, from: ASK, send: {word: hi, wrod: hi, more: 1}, shows: ASK}`,
			"step 1, exchange ASK: send has more, wrod, expected what the screen ASK posts: word"},
		{"a secret", `{do: exchange, from: ASK, send: {word: hi}, completes: {heard: "*"},
			fetches: [{upstream: ears, request: "POST /said?at=1", body: {word: hi, nonce: "{=nonce}"}, reply: {heard: "it is {nonce}"}}]}`, "the answer holds the secret nonce"},
		{"what the real client refuses", `{do: init, from: ELSEWHERE, shows: ASK}`, "the client refuses the answer"},
	}
	example := asking(t)
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			conversations, err := conversation.Read([]byte("conversations: [{name: a, secrets: [nonce], steps: [" + untabbed(c.step) + "]}]"))
			if err != nil {
				t.Fatal(err)
			}
			player, err := example.InProcess(conversations[0], testUpstreams(t))
			if err != nil {
				t.Fatal(err)
			}
			_, err = player.Play(t.Context(), conversations[0])
			if (err == nil) != (c.problem == "") || err != nil && !strings.Contains(err.Error(), c.problem) {
				t.Errorf("got %v, want %q", err, c.problem)
			}
		})
	}
}

// untabbed is YAML, which takes no tabs, as a Go test is indented.
func untabbed(text string) string { return strings.ReplaceAll(text, "\t", " ") }

func TestAConversationSaysWhenAndByWhomItIsHeld(t *testing.T) {
	const text = `conversations: [{name: a, user: {id: ann}, secrets: [nonce], now: 2026-11-23T10:00:00Z, steps: [
		{do: exchange, from: ASK, send: {word: hi}, shows: ASK, message: "*",
			fetches: [{upstream: ears, request: "POST /said?at=1", body: {word: hi, nonce: "{=nonce}"}, status: 500}]},
		{do: exchange, from: ASK, send: {word: "SECOND"}, completes: {heard: loud},
			fetches: [{upstream: ears, request: "POST /said?at=1", body: {word: "*", nonce: "*"}, reply: {heard: loud}}]}]}]`
	for name, test := range map[string]struct {
		second   string
		unspoken int
	}{
		"a secret the user never enters": {"again", 1},
		"a secret the user enters":       {"{nonce}", 0},
	} {
		t.Run(name, func(t *testing.T) {
			conversations, err := conversation.Read([]byte(untabbed(strings.Replace(text, "SECOND", test.second, 1))))
			if err != nil {
				t.Fatal(err)
			}
			player, err := asking(t).InProcess(conversations[0], testUpstreams(t))
			if err != nil {
				t.Fatal(err)
			}
			if !player.Now.Equal(time.Date(2026, 11, 23, 10, 0, 0, 0, time.UTC)) {
				t.Errorf("it is held at %s", player.Now)
			}
			if !strings.HasPrefix(player.Phone.Token, "wf1.") {
				t.Errorf("the token of a user is %q, expected a signed one", player.Phone.Token)
			}
			outcome, err := player.Play(t.Context(), conversations[0])
			if err != nil {
				t.Fatal(err)
			}
			if len(outcome.Unspoken) != test.unspoken {
				t.Errorf("unspoken: %v, want %d", outcome.Unspoken, test.unspoken)
			}
			if !strings.Contains(string(outcome.Params), `"heard":"loud"`) {
				t.Errorf("params are %s", outcome.Params)
			}
		})
	}
}
