package caddymodule

import (
	"bytes"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
)

// benchLogic are the booking flow with rules as an author writes them.
var benchLogic = map[string]string{
	"routing": "",
	"logic": `
constants: { max_tries: 5 }
screens:
  NAME:
    set: { tries: vars.tries + 1 }
    check:
      - { unless: size(form.name) >= 2, message: "'Please tell us your name'" }
      - { unless: "!form.name.matches('[0-9]')", message: "'A name has no digits'" }
      - { unless: vars.tries <= constants.max_tries, message: "'Too many tries'" }
    next:
      - { when: "form.name in ['nobody', 'Nobody']", screen: ROOM, data: { name: "'Stranger'" } }
      - { screen: ROOM, data: { name: "'Hi ' + form.name + ', it is ' + date(now, 'Europe/Berlin')" } }`,
	"fetch": `
screens:
  ROOM:
    fetch: { greeting: { upstream: api, path: "'/greeting'", cache: 1h, fallback: { text: Hi } } }
    data: { name: "string(fetch.greeting.body.text) + ' ' + session.name" }`,
}

// BenchmarkDataExchange is the second step of a session, from the request's
// bytes to those of its answer, over the real Redis: by the routing model, by
// logic with checks, and with a fetch that the cache answers. Beside the time it
// reports the CPU time of this process per request, and as a multiple of one RSA
// decryption by the same key.
func BenchmarkDataExchange(b *testing.B) {
	for _, by := range slices.Sorted(maps.Keys(benchLogic)) {
		for _, connections := range []int{1, 4} {
			b.Run(fmt.Sprintf("by=%s/connections=%d", by, connections), func(b *testing.B) {
				h, public := benchHandler(b, benchLogic[by])
				serve := func(bodies [][]byte) {
					var next atomic.Int64
					var senders sync.WaitGroup
					for range connections {
						senders.Go(func() {
							for i := int(next.Add(1)) - 1; i < len(bodies); i = int(next.Add(1)) - 1 {
								r := httptest.NewRequest(http.MethodPost, booking, bytes.NewReader(bodies[i]))
								r.Header.Set(signatureHeader, signed(bodies[i])[signatureHeader])
								w := httptest.NewRecorder()
								if err := h.ServeHTTP(w, r, nil); err != nil || w.Code != http.StatusOK {
									b.Errorf("status %d, %v", w.Code, err)
								}
							}
						})
					}
					senders.Wait()
				}
				openings, steps := make([][]byte, b.N), make([][]byte, b.N)
				for i := range b.N {
					token := rand.Text()
					openings[i] = seal(b, public, step("INIT", "", token, nil)).body
					steps[i] = seal(b, public, step("data_exchange", "NAME", token, request{"name": "Ada"})).body
				}
				serve(openings)
				checkShown(b, h, public, by)
				decryption := cpuOfDecryption(b, h)

				b.ReportAllocs()
				b.ResetTimer()
				before := cpuTime(b)
				serve(steps)
				used := (cpuTime(b) - before) / time.Duration(b.N)
				b.ReportMetric(float64(used.Nanoseconds()), "cpu-ns/op")
				b.ReportMetric(float64(used)/float64(decryption), "decryptions/op")
			})
		}
	}
}

// benchHandler is a flow endpoint without a server around it, for the booking
// flow with this logic.
func benchHandler(b *testing.B, logic string) (*FlowHandler, *rsa.PublicKey) {
	b.Helper()
	s := newSite(b)
	dir := b.TempDir()
	if err := errorsOf(
		os.MkdirAll(filepath.Join(dir, "booking"), 0o700),
		os.WriteFile(filepath.Join(dir, "booking", "flow.json"), bookingJSON(b), 0o600),
		os.WriteFile(filepath.Join(dir, "booking", "logic.yaml"), []byte(logic), 0o600),
	); err != nil {
		b.Fatal(err)
	}
	api := newService(b)
	api.answers(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, `{"text":"Good morning"}`) })
	app := fmt.Sprintf(`{"upstreams":{"api":{"url":%q}}}`, api.URL)
	ctx, err := caddy.ProvisionContext(&caddy.Config{AppsRaw: caddy.ModuleMap{appID: []byte(app)}})
	if err != nil {
		b.Fatal(err)
	}
	h := &FlowHandler{EndpointRaw: []byte(`{"name":"engine"}`), Flows: dir}
	if err := h.Provision(ctx); err != nil {
		b.Fatal(err)
	}
	if err := h.app.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = h.app.Cleanup() })
	return h, s.public
}

// checkShown sees to it that what is measured is no fallback.
func checkShown(b *testing.B, h *FlowHandler, public *rsa.PublicKey, by string) {
	b.Helper()
	e := seal(b, public, step("data_exchange", "NAME", rand.Text(), request{"name": "Ada"}))
	r := httptest.NewRequest(http.MethodPost, booking, bytes.NewReader(e.body))
	r.Header.Set(signatureHeader, signed(e.body)[signatureHeader])
	w := httptest.NewRecorder()
	if err := h.ServeHTTP(w, r, nil); err != nil {
		b.Fatal(err)
	}
	reply := e.open(b, answer{status: w.Code, body: w.Body.Bytes()})
	data, _ := reply["data"].(map[string]any)
	name, _ := data["name"].(string)
	if want := map[string]string{"routing": "Ada", "logic": "Hi Ada, it is ", "fetch": "Good morning Ada"}[by]; reply["screen"] != "ROOM" || !strings.HasPrefix(name, want) {
		b.Fatalf("it answers %v, expected the name %q", reply, want)
	}
}

// cpuOfDecryption is the CPU time of one RSA-OAEP decryption by the handler's key.
func cpuOfDecryption(b *testing.B, h *FlowHandler) time.Duration {
	b.Helper()
	key := h.only.current.Load().keys[0]
	ciphertext, err := rsa.EncryptOAEP(sha256.New(), rand.Reader, key.Public().(*rsa.PublicKey), make([]byte, 16), nil)
	if err != nil {
		b.Fatal(err)
	}
	const times = 300
	start := cpuTime(b)
	for range times {
		if _, err := key.Decrypt(rand.Reader, ciphertext, &rsa.OAEPOptions{Hash: crypto.SHA256}); err != nil {
			b.Fatal(err)
		}
	}
	return (cpuTime(b) - start) / times
}

func cpuTime(b *testing.B) time.Duration {
	b.Helper()
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		b.Fatal(err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}
