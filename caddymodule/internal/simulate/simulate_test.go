package simulate_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/caddymodule/internal/simulate"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/flow"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/flowcrypto"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/flowtoken"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/hubsignature"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/phone/phonetest"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/setting"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const exampleDir = "../../../examples/csat-feedback"

// bench is an operator's table: an endpoint, a key file, an environment.
type bench struct {
	t        *testing.T
	endpoint *phonetest.Endpoint
	url      string
	options  simulate.Options
	env      map[string]string
	in       string
	out, err bytes.Buffer
	now      func() time.Time                           // nil is the real time
	pause    func(context.Context, time.Duration) error // nil waits for it
}

func newBench(t *testing.T, wrap func(http.Handler) http.Handler) *bench {
	t.Helper()
	read := func(file string) []byte {
		text, err := os.ReadFile(filepath.Join(exampleDir, file))
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	definition, err := flow.Load(read("flow.json"), read("logic.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	b := &bench{t: t, endpoint: &phonetest.Endpoint{Definition: definition}, env: map[string]string{"META_APP_SECRET": phonetest.AppSecret}}
	var handler http.Handler = b.endpoint
	if wrap != nil {
		handler = wrap(handler)
	}
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	b.url = server.URL
	b.options = simulate.Options{
		Flow: exampleDir, Endpoint: server.URL + "/flows/endpoint/csat-feedback", PublicKey: b.file("flow.pub", flowcrypto.PublicPEM(&phonetest.Key().PublicKey)),
		Script: filepath.Join(exampleDir, "conversation.yaml"), Timeout: 10 * time.Second, WABA: "1", PhoneNumberID: "2", From: "15550100", WebhookCopies: 1,
	}
	return b
}

func (b *bench) file(name string, text []byte) string {
	b.t.Helper()
	path := filepath.Join(b.t.TempDir(), name)
	if err := os.WriteFile(path, text, 0o600); err != nil {
		b.t.Fatal(err)
	}
	return path
}

func (b *bench) world() simulate.World {
	now := b.now
	if now == nil {
		now = time.Now
	}
	return simulate.World{
		In: strings.NewReader(b.in), Out: &b.out, Err: &b.err, Now: now, Pause: b.pause, Echo: true,
		Env: setting.Source{LookupEnv: func(name string) (string, bool) { v, ok := b.env[name]; return v, ok }, ReadFile: os.ReadFile},
	}
}

func (b *bench) run() int { return simulate.Run(b.t.Context(), b.options, b.world()) }

// want runs and compares the exit code and what was written.
func (b *bench) want(code int, texts ...string) {
	b.t.Helper()
	got := b.run()
	all := b.out.String() + b.err.String()
	if got != code {
		b.t.Errorf("exit code %d, want %d:\n%s", got, code, all)
	}
	for _, text := range texts {
		if !strings.Contains(all, text) {
			b.t.Errorf("it does not say %q:\n%s", text, all)
		}
	}
	if strings.Contains(all, phonetest.AppSecret) {
		b.t.Error("it prints the app secret")
	}
}

func TestAScript(t *testing.T) {
	b := newBench(t, nil)
	b.options.JUnit = filepath.Join(t.TempDir(), "report.xml")
	b.want(simulate.Passed, "csat-feedback: satisfied, with a comment", "4 conversations went as expected.", `{"screen":"COMMENT","data":{"score":"5"}}`)
	junit, err := os.ReadFile(b.options.JUnit)
	if err != nil || !strings.Contains(string(junit), `tests="4" failures="0"`) {
		t.Errorf("JUnit is %s (%v)", junit, err)
	}
}

func TestAScriptThatFails(t *testing.T) {
	b := newBench(t, nil)
	b.options.Script = b.file("s.yaml", []byte(`conversations: [{name: hasty, steps: [{do: init, shows: THANKS}]}]`))
	b.options.JUnit = filepath.Join(t.TempDir(), "report.xml")
	b.want(simulate.Failed, "expected the screen THANKS", "1 of 1 conversations failed.")
	if junit, err := os.ReadFile(b.options.JUnit); err != nil || !strings.Contains(string(junit), `type="unexpected"`) {
		t.Errorf("JUnit is %s (%v)", junit, err)
	}
	b = newBench(t, nil)
	b.options.Script, b.options.JSON = b.file("s.yaml", []byte(`conversations: [{name: hasty, steps: [{do: init, shows: THANKS}]}]`)), true
	if code := b.run(); code != simulate.Failed {
		t.Errorf("exit code %d", code)
	}
	var report struct {
		Passed        bool
		Conversations []struct{ Error string }
	}
	if err := json.Unmarshal(b.out.Bytes(), &report); err != nil || report.Passed || report.Conversations[0].Error == "" {
		t.Errorf("the output is not JSON alone: %v\n%s", err, b.out.String())
	}
}

// Faults that only show over HTTP.
func TestFaultsOverHTTP(t *testing.T) {
	answer := func(status int, header ...string) func(http.Handler) http.Handler {
		return func(http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				if len(header) > 0 {
					w.Header().Set(header[0], header[1])
				}
				w.WriteHeader(status)
			})
		}
	}
	hang := func(http.Handler) http.Handler {
		return http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body)
			<-r.Context().Done()
		})
	}
	abort := func(http.Handler) http.Handler {
		return http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })
	}
	for _, c := range []struct {
		name    string
		wrap    func(http.Handler) http.Handler
		timeout time.Duration
		key     string
	}{
		{"a redirect, which Meta does not follow", answer(307, "Location", "/elsewhere"), time.Minute, "unexpected_http_status_code"},
		{"201 for 200", answer(201), time.Minute, "unexpected_http_status_code"},
		{"432", answer(432), time.Minute, "unexpected_http_status_code"},
		{"421 twice", answer(421), time.Minute, "business-decryption-error"},
		{"no answer in time", hang, 50 * time.Millisecond, "timeout_error"},
		{"a connection that breaks", abort, time.Minute, "no_http_response_error"},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newBench(t, c.wrap)
			b.options.Timeout = c.timeout
			b.options.Script = b.file("s.yaml", []byte(`conversations: [{name: opens, steps: [{do: init, shows: RATING}]}]`))
			b.want(simulate.Failed, "FAILED ("+c.key+")")
		})
	}
}

func TestTheKeyIsReadAgainAfter421(t *testing.T) {
	old, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	var b *bench
	var once sync.Once
	var came atomic.Int64
	b = newBench(t, func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			came.Add(1)
			// The operator uploads the new key while the phone waits.
			once.Do(func() { _ = os.WriteFile(b.options.PublicKey, flowcrypto.PublicPEM(&phonetest.Key().PublicKey), 0o600) })
			next.ServeHTTP(w, r)
		})
	})
	if err := os.WriteFile(b.options.PublicKey, flowcrypto.PublicPEM(&old.PublicKey), 0o600); err != nil {
		t.Fatal(err)
	}
	b.options.Script = b.file("s.yaml", []byte(`conversations: [{name: opens, steps: [{do: init, shows: RATING}]}, {name: comes later, steps: [{do: init, shows: RATING}]}]`))
	b.want(simulate.Passed)
	if n := len(b.endpoint.Requests()); n != 2 || came.Load() != 3 {
		t.Errorf("%d requests came and %d could be opened, want 3 and 2: the first is sent again", came.Load(), n)
	}
}

func TestAPhoneInTheTerminal(t *testing.T) {
	var mu sync.Mutex
	var webhooks []string
	verifier, err := hubsignature.New([]byte(phonetest.AppSecret))
	if err != nil {
		t.Fatal(err)
	}
	b := newBench(t, func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path != "/webhooks/whatsapp" {
				next.ServeHTTP(w, r)
				return
			}
			body, _ := io.ReadAll(r.Body)
			if _, ok := verifier.Verify(r.Header.Get("X-Hub-Signature-256"), body); !ok {
				w.WriteHeader(http.StatusUnauthorized)
				return
			}
			mu.Lock()
			defer mu.Unlock()
			webhooks = append(webhooks, string(body))
		})
	})
	b.options.Script, b.options.Webhook, b.options.WebhookCopies, b.options.Token = "", b.url+"/webhooks/whatsapp", 2, "tok-1"
	b.in = "1\n\nFriendly staff\n\ny\n\n"
	b.want(simulate.Passed, "┌─ Your opinion", `{"comment":"Friendly staff","contact_me":true,"flow_token":"tok-1","score":"5"}`, "copy 2: status 200")
	if len(webhooks) != 2 || webhooks[0] != webhooks[1] || !strings.Contains(webhooks[0], `"from":"15550100"`) {
		t.Errorf("webhooks: %q", webhooks)
	}

	b = newBench(t, nil)
	b.options.Script, b.options.UserID, b.options.UserName, b.in = "", "ann-1", "Ann", ":quit\n"
	b.env["FLOW_TOKEN_SECRET"] = "signs flow tokens for users"
	b.want(simulate.Passed, "flow token not shown")
	claims, err := flowtoken.Verify([][]byte{[]byte(b.env["FLOW_TOKEN_SECRET"])}, b.endpoint.Requests()[0].Token, time.Now())
	if err != nil || claims.User != "ann-1" || claims.Name != "Ann" || strings.Contains(b.out.String(), b.endpoint.Requests()[0].Token) {
		t.Errorf("the token names %+v (%v):\n%s", claims, err, b.out.String())
	}
	b = newBench(t, nil)
	b.options.Script = ""
	b.want(simulate.Failed, "the input ended before the flow")
	b = newBench(t, nil)
	b.options.Script, b.in = "", ":quit\n"
	b.want(simulate.Passed)
	b = newBench(t, nil)
	b.endpoint.Fault = phonetest.Fault{Status: 427, Alter: func(*flow.Request, []byte) []byte { return []byte(`{"error_msg":"This form is closed."}`) }}
	b.options.Script = ""
	b.want(simulate.Failed, "The phone says: This form is closed.")
}

// stopped makes the bench's time one that goes on only by what is waited for, so
// that a load sends as many requests as its rate says on any machine.
func (b *bench) stopped() {
	var mu sync.Mutex
	now := time.Date(2026, 11, 23, 10, 0, 0, 0, time.UTC)
	b.now = func() time.Time {
		mu.Lock()
		defer mu.Unlock()
		return now
	}
	b.pause = func(ctx context.Context, d time.Duration) error {
		mu.Lock()
		defer mu.Unlock()
		now = now.Add(d)
		return ctx.Err()
	}
}

func TestALoadOnAnEndpoint(t *testing.T) {
	b := newBench(t, nil)
	b.stopped()
	b.options.Users, b.options.Rate, b.options.Duration = 1, 40, 500*time.Millisecond
	b.want(simulate.Passed, "preparing 21 keys", "users          1", "requests       20 in", "since due", "errors         none")

	b = newBench(t, nil)
	b.stopped()
	b.endpoint.Fault.ReversedIV = true
	b.options.Script, b.options.JSON = "", true
	b.options.Users, b.options.Rate, b.options.Duration = 1, 20, 500*time.Millisecond
	if code := b.run(); code != simulate.Failed {
		t.Errorf("exit code %d", code)
	}
	var report struct {
		Requests, Failed int
		Errors           map[string]struct{ Count int }
	}
	if err := json.Unmarshal(b.out.Bytes(), &report); err != nil || report.Requests != 10 || report.Failed != 10 || report.Errors["response-decryption-error"].Count != 10 {
		t.Errorf("%v: %s", err, b.out.String())
	}

	// Several users, in real time, as many requests as go.
	b = newBench(t, nil)
	b.options.Script, b.options.JSON = "", true
	b.options.Users, b.options.Duration = 4, 300*time.Millisecond
	if code := b.run(); code != simulate.Passed {
		t.Errorf("exit code %d: %s", code, b.err.String())
	}
	if err := json.Unmarshal(b.out.Bytes(), &report); err != nil || report.Requests == 0 || report.Requests != len(b.endpoint.Requests()) || report.Failed != 0 {
		t.Errorf("%v, the endpoint got %d requests: %s", err, len(b.endpoint.Requests()), b.out.String())
	}
}

// The faults of other makers' endpoints, planted in a server, show in each way of
// playing a flow.
func TestPlantedFaultsOverHTTP(t *testing.T) {
	after := func(answer string) phonetest.Fault {
		return phonetest.Fault{Alter: func(r *flow.Request, good []byte) []byte {
			if _, _, reported := r.ErrorNotification(); reported || r.Action == flow.Init {
				return good
			}
			return []byte(answer)
		}}
	}
	for _, c := range []struct {
		name  string
		fault phonetest.Fault
		key   string
	}{
		{"reversed IV", phonetest.Fault{ReversedIV: true}, "response-decryption-error"},
		{"wrong OAEP hash", phonetest.Fault{OAEPSHA1: true}, "business-decryption-error"},
		{"wrong MGF1 hash", phonetest.Fault{MGF1SHA1: true}, "business-decryption-error"},
		{"missing declared data", after(`{"screen":"COMMENT","data":{}}`), "payload-schema-error"},
		{"forbidden transition", after(`{"screen":"THANKS","data":{"score":"5","comment":""}}`), "invalid-screen-transition"},
		{"null values", after(`{"screen":"COMMENT","data":{"score":null}}`), "payload-schema-error"},
		{"plaintext 427", phonetest.Fault{Status: 427, Plain: true, Alter: func(*flow.Request, []byte) []byte { return []byte(`{"error_msg":"over"}`) }}, "response-decryption-error"},
	} {
		t.Run(c.name, func(t *testing.T) {
			script := func(b *bench) string {
				return b.file("s.yaml", []byte(`conversations: [{name: opens, steps: [{do: init, shows: RATING}, {do: exchange, from: RATING, send: {score: "5"}, shows: COMMENT}]}]`))
			}
			pause := func(ctx context.Context, _ time.Duration) error { return ctx.Err() } // after a 421
			b := newBench(t, nil)
			b.endpoint.Fault, b.pause = c.fault, pause
			b.options.Script = script(b)
			b.want(simulate.Failed, "FAILED ("+c.key+")", "1 of 1 conversations failed.")

			b = newBench(t, nil)
			b.endpoint.Fault, b.pause = c.fault, pause
			b.options.Script, b.in = "", "1\n\n:quit\n"
			b.want(simulate.Failed, "The phone refuses the answer ("+c.key+")")

			b = newBench(t, nil)
			b.endpoint.Fault = c.fault
			b.stopped()
			b.options.Script = script(b)
			b.options.Users, b.options.Rate, b.options.Duration = 1, 10, 200*time.Millisecond
			b.want(simulate.Failed, " "+c.key+"; the first:")
		})
	}
}

// What an endpoint sends is shown, and steers no terminal.
func TestNothingOfAnEndpointReachesTheTerminalRaw(t *testing.T) {
	const evil = `\u001b]0;owned\u0007\u009b2J` + "\u009b2J\x7f\u202e"
	tells := func(answer string) phonetest.Fault {
		return phonetest.Fault{Alter: func(*flow.Request, []byte) []byte { return []byte(answer) }}
	}
	dead := tells(`{"error_msg":"` + evil + `"}`)
	dead.Status = 427
	for _, c := range []struct {
		name  string
		fault phonetest.Fault
		steps string
	}{
		{"the message of a 427", dead, `{do: init, shows: RATING}`},
		{"a message", tells(`{"screen":"RATING","data":{"error_message":"` + evil + `"}}`), `{do: init, shows: RATING, message: "*"}`},
		{"a message that is not expected", tells(`{"screen":"RATING","data":{"error_message":"` + evil + `"}}`), `{do: init, shows: RATING}`},
		{"a name of data", tells(`{"screen":"RATING","data":{"` + evil + `":1}}`), `{do: init, shows: RATING}`},
		{"the name of a null", tells(`{"screen":"RATING","data":{"` + evil + `":null}}`), `{do: init, shows: RATING}`},
		{"a screen", tells(`{"screen":"` + evil + `","data":{}}`), `{do: init, shows: RATING}`},
		{"another end", tells(`{"screen":"SUCCESS","data":{"extension_message_response":{"params":{"a":"` + evil + `"}}}}`), `{do: init, shows: RATING}`},
	} {
		t.Run(c.name, func(t *testing.T) {
			for kind, set := range map[string]func(*bench){
				"a script":          func(*bench) {},
				"a script, in JSON": func(b *bench) { b.options.JSON = true },
				"the terminal":      func(b *bench) { b.options.Script, b.in = "", ":quit\n" },
				"a load":            func(b *bench) { b.stopped(); b.options.Users, b.options.Rate, b.options.Duration = 1, 1, time.Second },
			} {
				b := newBench(t, nil)
				b.endpoint.Fault = c.fault
				b.options.Script = b.file("s.yaml", []byte(`conversations: [{name: opens, steps: [`+c.steps+`]}]`))
				set(b)
				b.run()
				all := b.out.String() + b.err.String()
				if strings.ContainsAny(all, "\x1b\x07\x7f\u009b") || !b.options.JSON && strings.Contains(all, "\u202e") {
					t.Errorf("%s: it writes %q", kind, all)
				}
				if b.options.JSON && !json.Valid(b.out.Bytes()) {
					t.Errorf("%s: no JSON: %s", kind, b.out.String())
				}
			}
		})
	}
}

func TestASignedFlowTokenIsNeverPrinted(t *testing.T) {
	signed := func(b *bench) {
		b.env["FLOW_TOKEN_SECRET"] = "signs flow tokens for users"
		b.options.Script = b.file("s.yaml", []byte(`conversations: [{name: ann, user: {id: ann}, steps: [{do: init, shows: RATING}, {do: tap, enter: {score: "5"}, shows: COMMENT}, {do: tap, shows: THANKS}, {do: tap, shows: RATING}]}]`)) // it ends: the error tells the whole answer
		b.options.JUnit = filepath.Join(b.t.TempDir(), "report.xml")
	}
	for kind, set := range map[string]func(*bench){
		"a script":          signed,
		"a script, in JSON": func(b *bench) { signed(b); b.options.JSON = true },
		"the terminal": func(b *bench) {
			signed(b)
			b.options.Script, b.options.JUnit, b.options.UserID, b.in = "", "", "ann", "1\n\n\n\n\n\n"
		},
	} {
		b := newBench(t, nil)
		set(b)
		b.run()
		all := b.out.String() + b.err.String()
		if b.options.JUnit != "" {
			text, err := os.ReadFile(b.options.JUnit)
			if err != nil {
				t.Fatal(err)
			}
			if !strings.Contains(string(text), "wf1.…") {
				t.Errorf("%s: JUnit does not tell the answer: %s", kind, text)
			}
			all += string(text)
		}
		requests := b.endpoint.Requests()
		if token := requests[len(requests)-1].Token; !flowtoken.IsSigned(token) || len(requests) != 4 || strings.Contains(all, token) || !strings.Contains(all, "wf1.…") {
			t.Errorf("%s: %d requests, it writes\n%s", kind, len(requests), all)
		}
	}
}

func TestAFlowWithoutAnEndpoint(t *testing.T) {
	const alone = `{"version":"7.3","screens":[{"id":"NAME","terminal":true,"layout":{"type":"SingleColumnLayout","children":[
		{"type":"TextInput","name":"name","label":"Name","required":true},{"type":"Footer","label":"Send","on-click-action":{"name":"complete","payload":{"name":"${form.name}"}}}]}}]}`
	newBench := func(script string) *bench {
		b := newBench(t, nil)
		b.options.Flow, b.options.Endpoint, b.options.PublicKey = b.file("flow.json", []byte(alone)), "", ""
		b.options.Script = b.file("s.yaml", []byte(`conversations: [{name: alone, steps: [`+script+`]}]`))
		return b
	}
	newBench(`{do: open, from: NAME, shows: NAME}, {do: tap, invalid: {name: "*"}}, {do: tap, enter: {name: Ann}, completes: {name: Ann}}`).want(simulate.Passed, "1 conversations went as expected.")
	newBench(`{do: init, shows: NAME}`).want(simulate.Failed, "the flow has no endpoint that could be asked")
	b := newBench(`{do: init, shows: NAME}`)
	b.options.Script, b.options.Rate, b.options.Duration = "", 10, time.Second
	b.want(simulate.Misused, "there is nothing to put a load on")
}

func TestWhatWasDoneInTheTerminalIsSaved(t *testing.T) {
	b := newBench(t, nil)
	b.options.Script, b.options.Save, b.options.Token = "", filepath.Join(t.TempDir(), "saved.yaml"), "tok-1"
	b.in = "1\n\nSo {so}\n\ny\n\n"
	b.want(simulate.Passed)
	text, err := os.ReadFile(b.options.Save)
	if err != nil || !strings.Contains(string(text), "# Step 3 holds text in braces") || strings.Contains(string(text), "tok-1") {
		t.Errorf("it saved (%v)\n%s", err, text)
	}
	if info, err := os.Stat(b.options.Save); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the file's mode is %v (%v), want 0600: it holds what was entered", info.Mode(), err)
	}

	b = newBench(t, nil)
	b.options.Script, b.options.Save, b.in = "", filepath.Join(t.TempDir(), "saved.yaml"), "1\n\nFriendly staff\n\ny\n\n"
	b.want(simulate.Passed)
	saved := b.options.Save
	b = newBench(t, nil)
	b.options.Script = saved
	b.want(simulate.Passed, "saved from the terminal", "1 conversations went as expected.")

	b = newBench(t, nil)
	b.options.Script, b.options.Save, b.in = "", filepath.Join(t.TempDir(), "none", "saved.yaml"), ":quit\n"
	b.want(simulate.Failed, "--save: open")
}

func TestWhatCannotBegin(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(*bench)
		says   string
	}{
		{"no flow", func(b *bench) { b.options.Flow = "/nowhere" }, "FLOW: stat /nowhere"},
		{"a directory without one", func(b *bench) { b.options.Flow = b.t.TempDir() }, "expected a directory with flow.json, or the file itself"},
		{"a flow that is none", func(b *bench) { b.options.Flow = b.file("x.json", []byte("{}")) }, "version is missing"},
		{"no endpoint", func(b *bench) { b.options.Endpoint = "" }, "no --endpoint"},
		{"an endpoint that is no URL", func(b *bench) { b.options.Endpoint = "flows.example.com" }, `--endpoint is "flows.example.com", expected a URL`},
		{"no key", func(b *bench) { b.options.PublicKey = "" }, "no --public-key"},
		{"the private key", func(b *bench) {
			b.options.PublicKey = b.file("k", []byte("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"))
		}, "it is a private key, expected the public key"},
		{"no script", func(b *bench) { b.options.Script = "/nowhere" }, "--script: open /nowhere"},
		{"a script that is none", func(b *bench) { b.options.Script = b.file("s.yaml", []byte("steps: []")) }, "field steps not found"},
		{"an app secret that is a placeholder", func(b *bench) { b.env["META_APP_SECRET"] = "changeme" }, "META_APP_SECRET still holds the placeholder"},
		{"an empty file of a secret", func(b *bench) { b.options.AppSecretFile = b.file("s", nil) }, "is empty"},
		{"a certificate that is none", func(b *bench) { b.options.CA = b.file("ca", []byte("x")) }, "holds no certificate"},
		{"a screen the flow does not have", func(b *bench) { b.options.Script, b.options.Screen = "", "NOWHERE" }, "--screen: the flow has no screen NOWHERE"},
		{"data that is no object", func(b *bench) { b.options.Script, b.options.Screen, b.options.Data = "", "RATING", "[]" }, "--data is no JSON object"},
		{"a negative rate", func(b *bench) { b.options.Rate = -5 }, "--rate is -5"},
		{"a rate that is none", func(b *bench) { b.options.Rate = math.NaN() }, "--rate is NaN"},
		{"fewer users than none", func(b *bench) { b.options.Users = -1 }, "--users is -1"},
		{"a load of no time", func(b *bench) { b.options.Users, b.options.Duration = 1, 0 }, "--duration is 0s"},
		{"no time for an answer", func(b *bench) { b.options.Timeout = 0 }, "--timeout is 0s"},
		{"no webhook at all", func(b *bench) { b.options.Webhook, b.options.WebhookCopies = "https://example.com", 0 }, "--webhook-copies is 0"},
		{"a delay into the past", func(b *bench) { b.options.Webhook, b.options.WebhookDelay = "https://example.com", -time.Second }, "--webhook-delay is -1s"},
		{"copies of nothing", func(b *bench) { b.options.WebhookCopies = 2 }, "give --webhook"},
		{"a report of a load", func(b *bench) { b.options.Users, b.options.Duration, b.options.JUnit = 1, time.Second, "report.xml" }, "--junit belongs to a script, and this is a load"},
		{"a token for a script", func(b *bench) { b.options.Token = "tok-1" }, "--token belongs to the phone in the terminal, and this is a script"},
		{"JSON of a terminal", func(b *bench) { b.options.Script, b.options.JSON = "", true }, "--json belongs to a script or a load"},
		{"data without a screen", func(b *bench) { b.options.Script, b.options.Data = "", "{}" }, "--data belongs to a message that names its first screen"},
		{"users without a secret for their tokens, under load", func(b *bench) {
			b.options.Users, b.options.Duration = 1, time.Second
			b.options.Script = b.file("s.yaml", []byte(`conversations: [{name: a, user: {id: ann}, steps: [{do: init, shows: RATING}]}]`))
		}, "whom only a signed flow token can name"},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newBench(t, nil)
			c.change(b)
			b.want(simulate.Misused, c.says)
			if len(b.endpoint.Requests()) > 0 {
				t.Error("the endpoint was asked all the same")
			}
		})
	}
}

func TestWithoutAnAppSecretNothingIsSigned(t *testing.T) {
	b := newBench(t, nil)
	b.env = nil
	b.want(simulate.Failed, "warning: no app secret", "status 432")
}

func TestRecording(t *testing.T) {
	const session = "01a2099e-8402-7a22-907b-7d9f43e58392"
	api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.Header.Get("Authorization") != "Bearer the-token":
			w.WriteHeader(http.StatusUnauthorized)
		case r.URL.Path != "/api/sessions/"+session+"/steps":
			w.WriteHeader(http.StatusNotFound)
		default:
			fmt.Fprint(w, `{"success":true,"data":{"session":{"id":"`+session+`","flow":"csat-feedback","userId":null},"steps":[
				{"kind":"step","action":"INIT","from":null,"to":"RATING","outcome":"next"},
				{"kind":"step","action":"data_exchange","from":"RATING","to":"COMMENT","outcome":"next","answers":{"score":"4"}}]}}`)
		}
	}))
	defer api.Close()
	b := newBench(t, nil)
	b.env["API_TOKEN"] = "the-token"
	o := simulate.RecordOptions{Session: session, API: api.URL + "/", Out: filepath.Join(t.TempDir(), "recorded.yaml")}
	if code := simulate.Record(context.Background(), o, b.world()); code != simulate.Passed {
		t.Fatalf("exit code %d: %s", code, b.err.String())
	}
	if info, err := os.Stat(o.Out); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the file's mode is %v (%v), want 0600: it holds what a user entered", info.Mode(), err)
	}
	b.options.Script = o.Out
	b.want(simulate.Passed, "session "+session, "1 conversations went as expected.")

	for name, c := range map[string]struct {
		change func(*simulate.RecordOptions)
		code   int
		says   string
	}{
		"another session": {func(o *simulate.RecordOptions) { o.Session = "none" }, simulate.Failed, "there is no session none for this token"},
		"another token":   {func(o *simulate.RecordOptions) { o.TokenFile = b.file("t", []byte("other")) }, simulate.Failed, "the API answers 401"},
		"no API":          {func(o *simulate.RecordOptions) { o.API = "" }, simulate.Misused, "no --api"},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, nil)
			b.env["API_TOKEN"] = "the-token"
			changed := o
			c.change(&changed)
			if code := simulate.Record(context.Background(), changed, b.world()); code != c.code || !strings.Contains(b.err.String(), c.says) {
				t.Errorf("exit code %d, it says %s", code, b.err.String())
			}
		})
	}
}
