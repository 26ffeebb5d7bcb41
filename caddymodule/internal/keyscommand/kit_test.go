package keyscommand

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/caddymodule/internal/keyring"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/flowcrypto"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/graph"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/graph/graphtest"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/setting"
)

const testPassphrase = "correct horse battery"

// desk is where an operator sits: a directory, an environment, a clock, edges, and
// the Graph API.
type desk struct {
	t       *testing.T
	dir     string
	env     map[string]string
	now     time.Time
	typed   []string // at the terminal, in order; nil is no terminal
	edges   map[string]*edge
	graph   *graphtest.Server
	out     bytes.Buffer
	secrets []string // that must never be printed
	quick   bool     // keys are written in a form that costs nothing

	asked func(address string) error // before an edge answers; nil for nothing
	makes func()                     // before a key is written, with quick; nil for nothing
	told  func(*http.Request)        // after Meta has answered; nil for nothing
	ctx   context.Context            // of the commands; nil is the test's
}

func newDesk(t *testing.T) *desk {
	return &desk{t: t, dir: t.TempDir(), env: map[string]string{}, now: time.Date(2026, 11, 29, 9, 0, 0, 0, time.UTC), edges: map[string]*edge{}}
}

func (d *desk) path(name string) string { return filepath.Join(d.dir, name) }

func (d *desk) write(name, content string) string {
	d.t.Helper()
	if err := os.WriteFile(d.path(name), []byte(content), 0o600); err != nil {
		d.t.Fatal(err)
	}
	return d.path(name)
}

func (d *desk) read(name string) string {
	d.t.Helper()
	content, err := os.ReadFile(d.path(name))
	if err != nil {
		d.t.Fatal(err)
	}
	return string(content)
}

// run runs a command and returns what it printed. Nothing secret may be in it, nor
// in its error.
func (d *desk) run(input string, args ...string) (string, error) {
	d.t.Helper()
	d.out.Reset()
	w := World{
		In: strings.NewReader(input), Out: &d.out, Err: &d.out, Now: func() time.Time { return d.now },
		Env: setting.Source{LookupEnv: func(name string) (string, bool) { v, ok := d.env[name]; return v, ok }, ReadFile: os.ReadFile},
		Admin: func(address, method, path string) (io.ReadCloser, error) {
			if d.asked != nil {
				if err := d.asked(address); err != nil {
					return nil, err
				}
			}
			edge, ok := d.edges[address]
			if !ok {
				return nil, errors.New("performing request: dial tcp " + address + ": connect: connection refused")
			}
			return edge.serve(method, path)
		},
		AdminAddress: func(string, string) (string, error) { return "localhost:2019", nil },
		HTTP:         http.DefaultClient,
	}
	if d.graph != nil {
		w.HTTP = d.graph.HTTP()
		if d.told != nil {
			w.HTTP = &http.Client{Transport: listener{w.HTTP.Transport, d.told}}
		}
	}
	if d.quick {
		w.Encrypt = func(key *rsa.PrivateKey, passphrase []byte) ([]byte, error) {
			if d.makes != nil {
				d.makes()
			}
			//lint:ignore SA1019 weak, but nobody looks at this key
			block, err := x509.EncryptPEMBlock(rand.Reader, "RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(key), passphrase, x509.PEMCipherAES256)
			return pem.EncodeToMemory(block), err
		}
	}
	if d.typed != nil {
		typed := d.typed
		w.Prompt = func(question string) ([]byte, error) {
			fmt.Fprintln(&d.out, question)
			if len(typed) == 0 {
				return nil, io.EOF
			}
			text := typed[0]
			typed = typed[1:]
			return []byte(text), nil
		}
	}
	cmd := New(w)
	cmd.SetArgs(args)
	cmd.SetOut(&d.out)
	cmd.SetErr(&d.out)
	cmd.SilenceUsage = true
	ctx := d.ctx
	if ctx == nil {
		ctx = d.t.Context()
	}
	err := cmd.ExecuteContext(ctx)
	printed := d.out.String()
	if err != nil {
		printed += err.Error()
	}
	for _, secret := range append([]string{testPassphrase, "PRIVATE KEY-----\nM", "EAAG-token"}, d.secrets...) {
		if strings.Contains(printed, secret) {
			d.t.Errorf("keys %s prints the secret %q:\n%s", strings.Join(args, " "), secret, printed)
		}
	}
	return d.out.String(), err
}

func (d *desk) must(args ...string) string {
	d.t.Helper()
	out, err := d.run("", args...)
	if err != nil {
		d.t.Fatalf("keys %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return out
}

// refused expects an error that holds every part of want.
func (d *desk) refused(want []string, args ...string) string {
	d.t.Helper()
	out, err := d.run("", args...)
	if err == nil {
		d.t.Fatalf("keys %s went well:\n%s", strings.Join(args, " "), out)
	}
	for _, part := range want {
		if !strings.Contains(out+err.Error(), part) {
			d.t.Errorf("keys %s: %v\n%s\nexpected %q", strings.Join(args, " "), err, out, part)
		}
	}
	return out
}

// edge stands for a running one: it reads public halves where the real one reads
// keys.
type edge struct {
	desk   *desk
	name   string // of its account
	beside *edge  // another account of it; its address is of no use
	dir    string // of its keys, as it sees it
	at     time.Time
	keys   []keyring.Key
	broken string // what a reload answers, when it cannot

	reloads  int
	reloaded func() // after each reload; nil for nothing
	used     map[string]keyring.Key
}

func (d *desk) edge(address, dir string) *edge {
	e := &edge{desk: d, name: "default", dir: dir, used: map[string]keyring.Key{}}
	d.edges[address] = e
	e.load()
	return e
}

// account gives the edge another account.
func (e *edge) account(name, dir string) *edge {
	e.beside = &edge{desk: e.desk, name: name, dir: dir, used: map[string]keyring.Key{}}
	e.beside.load()
	return e.beside
}

func (e *edge) report() keyring.Account {
	return keyring.Account{Account: e.name, LoadedAt: e.at, Directory: e.dir, AppSecrets: 1, Keys: e.keys}
}

func (e *edge) load() {
	e.at, e.keys = e.desk.now, nil
	if e.dir == "" {
		return
	}
	files, err := keyring.List(e.dir)
	if err != nil {
		e.desk.t.Fatal(err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file.Public())
		if err != nil {
			e.desk.t.Fatal(err)
		}
		public, err := flowcrypto.ReadPublicKey(text)
		if err != nil {
			e.desk.t.Fatal(err)
		}
		fingerprint := flowcrypto.Fingerprint(public)
		key, ok := e.used[fingerprint]
		if !ok {
			key = keyring.Key{Fingerprint: fingerprint, PublicKey: string(text), Source: file.Path, Since: e.desk.now}
		}
		e.used[fingerprint] = key
		e.keys = append(e.keys, key)
	}
}

// opens lets the edge open requests with one of its keys now.
func (e *edge) opens(position int, requests uint64) {
	key := &e.keys[position-1]
	key.Opened += requests
	key.OpenedDay += requests
	key.ShareDay = 0.5
	key.LastOpened = e.desk.now
	e.used[key.Fingerprint] = *key
}

func (e *edge) serve(method, path string) (io.ReadCloser, error) {
	var answer any
	switch method + " " + path {
	case "GET /whatsapp_flows/keys":
		report := keyring.Report{Accounts: []keyring.Account{e.report()}}
		if e.beside != nil {
			report.Accounts = append(report.Accounts, e.beside.report())
		}
		answer = report
	case "POST /whatsapp_flows/reload":
		if e.broken != "" {
			text, _ := json.Marshal(map[string]string{"error": e.broken})
			return nil, fmt.Errorf("caddy responded with error: HTTP 422: %s\n", text)
		}
		e.load()
		if e.beside != nil {
			e.beside.load()
		}
		if e.reloads++; e.reloaded != nil {
			e.reloaded()
		}
		answer = keyring.Reloaded{Accounts: []string{"default"}, Changed: []string{"default"}}
	default:
		return nil, fmt.Errorf("caddy responded with error: HTTP 404: %s %s", method, path)
	}
	text, err := json.Marshal(answer)
	return io.NopCloser(bytes.NewReader(text)), err
}

// meta gives the desk the Graph API with two phone numbers.
func (d *desk) meta() *graphtest.Server {
	d.graph = graphtest.New()
	d.t.Cleanup(d.graph.Close)
	d.graph.AddToken("EAAG-token", graphtest.Token{})
	d.graph.AddAccount("700")
	d.graph.AddNumber("700", graph.Number{ID: "101", Display: "+1 555-0101"})
	d.graph.AddNumber("700", graph.Number{ID: "102", Display: "+1 555-0102"})
	d.env["META_ACCESS_TOKEN"] = "EAAG-token"
	d.env["META_GRAPH_URL"] = d.graph.URL()
	d.env["META_WABA_ID"] = "700"
	d.env["META_PHONE_NUMBER_ID"] = "101"
	return d.graph
}

// listener tells of each request once it is answered.
type listener struct {
	http.RoundTripper
	told func(*http.Request)
}

func (l listener) RoundTrip(r *http.Request) (*http.Response, error) {
	response, err := l.RoundTripper.RoundTrip(r)
	l.told(r)
	return response, err
}
