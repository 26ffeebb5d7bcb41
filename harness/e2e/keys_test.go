package e2e

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/harness/site"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/flowcrypto"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/graph"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/graph/graphtest"
)

// keys runs `caddy whatsapp-flows keys` beside the running edge.
func (s installation) keys(args ...string) (string, error) {
	cmd := s.EdgeCommand(append([]string{"whatsapp-flows", "keys"}, args...)...)
	out, err := cmd.CombinedOutput()
	for _, secret := range []string{s.Secrets.AppSecret, "PRIVATE KEY-----\nM"} {
		if strings.Contains(string(out), secret) {
			return string(out), errors.New("a secret is printed")
		}
	}
	return string(out), err
}

func (s installation) mustKeys(t *testing.T, args ...string) string {
	t.Helper()
	out, err := s.keys(args...)
	if err != nil {
		t.Fatalf("keys %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return out
}

// newestPublic is the public key of the newest key in a directory.
func newestPublic(t *testing.T, dir string) *rsa.PublicKey {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*.pub"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no public key in %s: %v", dir, err)
	}
	text, err := os.ReadFile(files[len(files)-1])
	if err != nil {
		t.Fatal(err)
	}
	public, err := flowcrypto.ReadPublicKey(text)
	if err != nil {
		t.Fatal(err)
	}
	return public
}

// replaceFile writes a secret anew as an editor does.
func replaceFile(t *testing.T, path, content string) {
	t.Helper()
	if err := os.WriteFile(path+".new", []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
}

// Users go on with the key they have, others come with the new one, and the
// operator rotates keys and secrets, breaks files, and reloads: nobody notices.
//
// Beside no other test: a machine with more to do than it can answers 503, and
// nobody could tell whose fault it was.
func TestKeysAndSecretsAreRotatedUnderLoad(t *testing.T) {
	dir := t.TempDir()
	s := start(t, site.Options{TLS: true, EdgeEnv: []string{"PRIVATE_KEYS_DIR=" + dir}})
	definition := s.phone(t, "").Flow
	users := startLoad(t, s, 2) // with the key of PRIVATE_KEY_FILE, to the end
	var wamids []string
	comes := func(key *rsa.PublicKey, secret string) error {
		p := s.phoneFor(definition, rand.Text())
		p.PublicKey, p.AppSecret = key, []byte(secret)
		wamid, err := s.complete(t.Context(), p)
		if err == nil {
			wamids = append(wamids, wamid)
		}
		return err
	}
	const rotations = 3
	for i := range rotations {
		out := s.mustKeys(t, "rotate", "--no-register", "--again", "--overlap", "0s")
		public := newestPublic(t, dir)
		if !strings.Contains(out, flowcrypto.Fingerprint(public)) {
			t.Errorf("rotate does not tell the new fingerprint:\n%s", out)
		}
		if err := comes(public, s.Secrets.AppSecret); err != nil {
			t.Errorf("a phone with the new key %d: %v", i+1, err)
		}
	}
	current := newestPublic(t, dir)

	// A new app secret, while Meta still signs with the old one.
	secretFile := filepath.Join(s.Secrets.Dir, "app_secret")
	const newSecret = "fedcba98765432100123456789abcdef"
	replaceFile(t, secretFile, newSecret+","+s.Secrets.AppSecret)
	if out := s.mustKeys(t, "reload"); out != "default      changed\n" {
		t.Errorf("reload says %q", out)
	}
	for _, secret := range []string{newSecret, s.Secrets.AppSecret} {
		p := s.phoneFor(definition, rand.Text())
		p.PublicKey, p.AppSecret = current, []byte(secret)
		if _, err := converse(t.Context(), p, "3", ""); err != nil {
			t.Errorf("signed with one of both secrets: %v", err)
		}
	}

	// A file that is broken: the error names it, and all stays.
	broken := filepath.Join(dir, "2099-01-01.pem")
	replaceFile(t, broken, "-----BEGIN ENCRYPTED PRIVATE KEY-----\nMIIF")
	if out, err := s.keys("reload"); err == nil || !strings.Contains(out, broken+": private key: BEGIN ENCRYPTED PRIVATE KEY has no END") {
		t.Errorf("a reload of a broken key: %v\n%s", err, out)
	}
	if err := comes(current, s.Secrets.AppSecret); err != nil {
		t.Errorf("after the refused reload: %v", err)
	}
	if err := os.Remove(broken); err != nil {
		t.Fatal(err)
	}

	// The old key is in use: it stays, and who uses it is said.
	if out, err := s.keys("rotate", "--finish", "--no-register"); err == nil || !strings.Contains(out, "opened a request with the old key "+flowcrypto.Fingerprint(&s.Secrets.PrivateKey.PublicKey)[:12]) {
		t.Errorf("the old key may go while users have it: %v\n%s", err, out)
	}
	before := users.completed()
	eventually(t, 30*time.Second, "users go on after the last change", func(context.Context) error {
		if users.completed() < before+8 {
			return fmt.Errorf("%d conversations are completed, %d before", users.completed(), before)
		}
		return nil
	})
	wamids = append(wamids, users.end(t)...)

	out := s.mustKeys(t, "status")
	for _, want := range []string{"key 1  " + flowcrypto.Fingerprint(current), "key 4  " + flowcrypto.Fingerprint(&s.Secrets.PrivateKey.PublicKey), "WhatsApp is not asked"} {
		if !strings.Contains(out, want) {
			t.Errorf("status has no %q:\n%s", want, out)
		}
	}
	out = s.mustKeys(t, "rotate", "--finish", "--no-register", "--quiet", "0s")
	if strings.Count(out, "moved ") != rotations-1 || !strings.Contains(out, "still there  PRIVATE_KEY_FILE (") {
		t.Errorf("finish says\n%s", out)
	}
	if err := comes(current, s.Secrets.AppSecret); err != nil {
		t.Errorf("with the new key alone: %v", err)
	}
	s.readAll(t)
	if got := s.number(t, "SELECT count(*) FROM flow_responses WHERE wamid = ANY($1)", wamids); got != len(wamids) {
		t.Errorf("%d of %d answers are stored", got, len(wamids))
	}
	if err := s.Died(); err != nil {
		t.Error(err)
	}
	t.Logf("%d rotations and %d conversations", rotations, len(wamids))
}

// The commands of docs/keys.md, as they stand there, with a Graph API that knows
// two phone numbers.
func TestDocumentedKeyCommands(t *testing.T) {
	t.Parallel()
	dir := checkout(t)
	if err := os.Mkdir(filepath.Join(dir, "keys"), 0o700); err != nil {
		t.Fatal(err)
	}
	meta := graphtest.New()
	t.Cleanup(meta.Close)
	meta.AddToken("EAAG-a-token", graphtest.Token{})
	meta.AddAccount("102290129340398")
	meta.AddNumber("102290129340398", graph.Number{ID: "106540352242922", Display: "+1 555-078-3881"})
	meta.AddNumber("102290129340398", graph.Number{ID: "106540352242923", Display: "+1 555-078-3882"})
	s := install(t, site.Options{EdgeEnv: []string{
		"PRIVATE_KEYS_DIR=" + filepath.Join(dir, "keys"), "META_GRAPH_URL=" + meta.URL(), "META_ACCESS_TOKEN=EAAG-a-token",
		"META_WABA_ID=102290129340398",
	}})
	if err := s.StartEdge(t.Context()); err != nil {
		t.Fatal(err)
	}
	text := string(readFile(t, "docs/keys.md"))
	commands := indented(text)
	if len(commands) < 10 {
		t.Fatalf("docs/keys.md has %d commands", len(commands))
	}
	script := []string{"set -euo pipefail"}
	for _, command := range commands {
		script = append(script, "echo '"+strings.ReplaceAll(command, "'", `'\''`)+"'", command)
	}
	run := exec.CommandContext(t.Context(), "bash", "-c", strings.Join(script, "\n"))
	run.Dir = dir
	run.Env = append(os.Environ(), s.EdgeCommand().Env...)
	out, err := run.CombinedOutput()
	if err != nil {
		t.Fatalf("%v; the last command is the one that failed:\n%s", err, out)
	}
	// By OpenSSL and by us, the same fingerprint.
	fingerprint := flowcrypto.Fingerprint(publicOfFile(t, filepath.Join(dir, "flow.pub")))
	if got := strings.Count(string(out), fingerprint); got < 5 {
		t.Errorf("the fingerprint %s stands %d times in\n%s", fingerprint, got, out)
	}
	current := newestPublic(t, filepath.Join(dir, "keys"))
	for _, id := range []string{"106540352242922", "106540352242923"} {
		if meta.Key(id).PEM != string(flowcrypto.PublicPEM(current)) {
			t.Errorf("number %s does not have the newest key", id)
		}
	}
	// The example of the refusal, in its own words.
	refusal, err := s.keys("rotate", "--finish", "--all-numbers")
	if err == nil {
		t.Errorf("the old key goes on the first day:\n%s", refusal)
	}
	for _, line := range []string{"not yet      the overlap ends at ", "\nError: the old key stays\n"} {
		if !strings.Contains(refusal, line) || !strings.Contains(text, line) {
			t.Errorf("%q is not in both the document and\n%s", line, refusal)
		}
	}
	// The admin address of a configuration file.
	config := filepath.Join(t.TempDir(), "Caddyfile")
	if err := os.WriteFile(config, []byte("{\n\tadmin "+s.Admin+"\n}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	byFile := s.EdgeCommand("whatsapp-flows", "keys", "reload", "--config", config)
	byFile.Env = slices.DeleteFunc(byFile.Env, func(variable string) bool { return strings.HasPrefix(variable, "CADDY_ADMIN=") })
	if out, err := byFile.CombinedOutput(); err != nil || !strings.HasSuffix(string(out), "default      as before\n") {
		t.Errorf("reload --config: %v\n%s", err, out)
	}
	// By the admin API itself, as the document has it; no page of another site can.
	call := between(t, text, "Without the command: `", "`")
	if out, err := exec.CommandContext(t.Context(), "bash", "-c", strings.Replace(call, "localhost:2019", s.Admin, 1)+" --no-progress-meter --fail").CombinedOutput(); err != nil || !strings.Contains(string(out), `"accounts":["default"]`) {
		t.Errorf("%s: %v\n%s", call, err, out)
	}
	page, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+s.Admin+"/whatsapp_flows/reload", nil)
	if err != nil {
		t.Fatal(err)
	}
	page.Header.Set("Origin", "https://example.org")
	refused, err := http.DefaultClient.Do(page)
	if err != nil {
		t.Fatal(err)
	}
	refused.Body.Close()
	if refused.StatusCode != http.StatusForbidden {
		t.Errorf("a page of another site gets %d, expected 403", refused.StatusCode)
	}
	response, err := http.Get("http://" + s.Admin + "/whatsapp_flows/keys")
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	var report struct {
		Accounts []struct{ Keys []json.RawMessage }
	}
	if err := json.NewDecoder(response.Body).Decode(&report); err != nil || len(report.Accounts) != 1 || len(report.Accounts[0].Keys) != 3 {
		t.Errorf("GET /whatsapp_flows/keys: %v, %+v", err, report)
	}
}

// A rotation whose command is killed while WhatsApp is told: what became of it is
// known, and it goes on.
func TestARotationWhoseCommandWasKilledGoesOn(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	meta := graphtest.New()
	t.Cleanup(meta.Close)
	meta.AddToken("EAAG-a-token", graphtest.Token{})
	meta.AddAccount("102290129340398")
	meta.AddNumber("102290129340398", graph.Number{ID: "106540352242922"})
	target, err := url.Parse(meta.URL())
	if err != nil {
		t.Fatal(err)
	}
	through := httputil.NewSingleHostReverseProxy(target)
	told := make(chan struct{})
	var first sync.Once
	silent := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		answer := true
		if r.Method == http.MethodPost {
			first.Do(func() {
				answer = false
				_, _ = io.Copy(io.Discard, r.Body)
				close(told)
				<-r.Context().Done() // the caller is gone
			})
		}
		if answer {
			through.ServeHTTP(w, r)
		}
	}))
	t.Cleanup(silent.Close)
	s := install(t, site.Options{EdgeEnv: []string{
		"PRIVATE_KEYS_DIR=" + dir, "META_GRAPH_URL=" + silent.URL, "META_ACCESS_TOKEN=EAAG-a-token", "META_WABA_ID=102290129340398",
	}})
	if err := s.StartEdge(t.Context()); err != nil {
		t.Fatal(err)
	}
	rotate := s.EdgeCommand("whatsapp-flows", "keys", "rotate", "--all-numbers")
	if err := rotate.Start(); err != nil {
		t.Fatal(err)
	}
	exited := make(chan error, 1)
	go func() { exited <- rotate.Wait() }()
	select {
	case <-told:
	case err := <-exited:
		t.Fatalf("rotate ended before WhatsApp was told: %v", err)
	}
	if err := rotate.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	<-exited

	fingerprint := flowcrypto.Fingerprint(newestPublic(t, dir))
	out, err := s.keys("status", "--all-numbers")
	if err == nil {
		t.Error("nothing is registered, and status is content")
	}
	for _, want := range []string{"key 1  " + fingerprint, "rotation begun ", "number 106540352242922 (+1 555-078-3881) has no key"} {
		if !strings.Contains(out, want) {
			t.Errorf("status has no %q:\n%s", want, out)
		}
	}
	if out, err := s.keys("rotate", "--all-numbers"); err == nil || !strings.Contains(out, "a rotation is under way since ") {
		t.Errorf("another rotation: %v\n%s", err, out)
	}
	s.mustKeys(t, "register", "--all-numbers")
	if out := s.mustKeys(t, "status", "--all-numbers"); !strings.Contains(out, fingerprint+"  VALID, key 1 of the edge") {
		t.Errorf("after registering, status says\n%s", out)
	}
}

func publicOfFile(t *testing.T, path string) *rsa.PublicKey {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	public, err := flowcrypto.ReadPublicKey(text)
	if err != nil {
		t.Fatal(err)
	}
	return public
}
