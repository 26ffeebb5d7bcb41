package caddymodule

import (
	"bytes"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/caddymodule/internal/keyring"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/flowcrypto"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/flowcrypto/libcrypto"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/hubsignature"
)

// keyFiles are the secrets of one account, in files that tests change.
type keyFiles struct {
	t   testing.TB
	dir string
}

func newKeyFiles(t testing.TB) *keyFiles {
	f := &keyFiles{t, t.TempDir()}
	f.write("app_secret", testSecret)
	if err := os.Mkdir(f.path("keys"), 0o700); err != nil {
		t.Fatal(err)
	}
	return f
}

func (f *keyFiles) path(name string) string { return filepath.Join(f.dir, name) }

func (f *keyFiles) write(name, content string) {
	f.t.Helper()
	if err := os.WriteFile(f.path(name), []byte(content), 0o600); err != nil {
		f.t.Fatal(err)
	}
}

// key writes a new key under a name of the directory and returns its public half.
func (f *keyFiles) key(name, passphrase string) *rsa.PublicKey {
	f.t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		f.t.Fatal(err)
	}
	// A form that costs nothing to open: the tests reload often.
	//lint:ignore SA1019 weak, but these keys are thrown away
	block, err := x509.EncryptPEMBlock(rand.Reader, "RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(key), []byte(passphrase), x509.PEMCipherAES256)
	if err != nil {
		f.t.Fatal(err)
	}
	f.write("keys/"+name, string(pem.EncodeToMemory(block)))
	return &key.PublicKey
}

func (f *keyFiles) global() string {
	return "\twhatsapp_flows {\n\t\taccount default {\n\t\t\tapp_secret {file." + f.path("app_secret") + "}\n\t\t\tprivate_keys " + f.path("keys") + "\n\t\t}\n\t}"
}

// admin asks the admin API as Caddy would.
func admin(t testing.TB, method, path string) (status int, body string) {
	t.Helper()
	for _, route := range (adminAPI{}).Routes() {
		if route.Pattern != path {
			continue
		}
		recorder := httptest.NewRecorder()
		err := route.Handler.ServeHTTP(recorder, httptest.NewRequest(method, path, nil))
		if failed, ok := err.(caddy.APIError); ok {
			return failed.HTTPStatus, failed.Err.Error()
		} else if err != nil {
			t.Fatal(err)
		}
		return recorder.Code, recorder.Body.String()
	}
	t.Fatalf("the admin API has no %s", path)
	return 0, ""
}

func heldKeysOf(t testing.TB) []keyring.Key {
	t.Helper()
	status, body := admin(t, http.MethodGet, "/whatsapp_flows/keys")
	var report keyring.Report
	if err := json.Unmarshal([]byte(body), &report); status != http.StatusOK || err != nil || len(report.Accounts) != 1 {
		t.Fatalf("status %d, %v: %s", status, err, body)
	}
	for _, private := range []string{testSecret, "PRIVATE KEY", "first-pass", "second-pass"} {
		if strings.Contains(body, private) {
			t.Errorf("the report holds %q", private)
		}
	}
	return report.Accounts[0].Keys
}

func (s *site) pings(public *rsa.PublicKey, secret string) int {
	s.t.Helper()
	e := seal(s.t, public, request{"version": "3.0", "action": "ping"})
	header := map[string]string{"X-Hub-Signature-256": hubsignature.Sign([]byte(secret), e.body), "Content-Type": "application/json"}
	return s.do(http.MethodPost, "/flows/endpoint/booking", header, e.body).status
}

// serving is a site that serves a flow with secrets and one key out of files.
func serving(t testing.TB) (s *site, files *keyFiles, first *rsa.PublicKey) {
	t.Helper()
	files = newKeyFiles(t)
	files.write("keys/2026-01-01.pass", "first-pass\n")
	first = files.key("2026-01-01.pem", "first-pass")
	s = newSite(t).load(files.global(), engineSite)
	s.publish(defaultAccount, "booking", bookingJSON(t))
	eventually(t, 10*time.Second, "the flow is known", func() bool { return s.pings(first, testSecret) == http.StatusOK })
	return s, files, first
}

func TestNewKeysAndSecretsAreTakenUpWithoutARestart(t *testing.T) {
	s, files, first := serving(t)

	files.write("keys/2026-02-02.pass", "second-pass")
	second := files.key("2026-02-02.pem", "second-pass")
	if got := s.pings(second, testSecret); got != http.StatusMisdirectedRequest {
		t.Errorf("before the reload a request for the new key gets %d, expected 421", got)
	}
	files.write("app_secret", "another-secret-of-the-app")
	status, body := admin(t, http.MethodPost, "/whatsapp_flows/reload")
	if status != http.StatusOK || !strings.Contains(body, `"changed":["default"]`) {
		t.Fatalf("reload: status %d: %s", status, body)
	}
	for name, c := range map[string]struct {
		public *rsa.PublicKey
		secret string
		want   int
	}{
		"the new key":                     {second, "another-secret-of-the-app", http.StatusOK},
		"the old key, which is kept":      {first, "another-secret-of-the-app", http.StatusOK},
		"the old secret, which is not":    {second, testSecret, statusBadSignature},
		"the new secret, another account": {&otherKey(t).PublicKey, "another-secret-of-the-app", http.StatusMisdirectedRequest},
	} {
		if got := s.pings(c.public, c.secret); got != c.want {
			t.Errorf("%s: status %d, expected %d", name, got, c.want)
		}
	}
	keys := heldKeysOf(t)
	if len(keys) != 2 || keys[0].Fingerprint != flowcrypto.Fingerprint(second) || keys[1].Fingerprint != flowcrypto.Fingerprint(first) {
		t.Fatalf("the keys are %v, expected the new one before the old one", keys)
	}
	if keys[0].Opened != 1 || keys[0].ShareDay <= 0 || keys[1].OpenedDay != keys[1].Opened || keys[1].LastOpened.IsZero() {
		t.Errorf("what they opened: %+v", keys)
	}
	if status, body := admin(t, http.MethodPost, "/whatsapp_flows/reload"); status != http.StatusOK || !strings.Contains(body, `"changed":null`) {
		t.Errorf("a reload of the same: status %d: %s", status, body)
	}
	if again := heldKeysOf(t); again[0].Opened != 1 || again[0].Since != keys[0].Since {
		t.Errorf("a reload forgets what the keys opened: %+v", again)
	}
}

func otherKey(t testing.TB) *rsa.PrivateKey {
	t.Helper()
	text, err := os.ReadFile("testdata/other.pem")
	if err != nil {
		t.Fatal(err)
	}
	key, err := flowcrypto.ReadPrivateKey(text, nil)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// Whatever is wrong with the new files: the edge goes on with what it has, and the
// error names the file.
func TestAReloadOfBrokenFilesChangesNothing(t *testing.T) {
	s, files, first := serving(t)
	good, err := os.ReadFile(files.path("keys/2026-01-01.pem"))
	if err != nil {
		t.Fatal(err)
	}

	for name, c := range map[string]struct {
		file, content string // content "-" removes the file
		want          string
	}{
		"a key cut in the middle":    {"keys/2026-02-02.pem", string(good[:700]), "keys/2026-02-02.pem: private key: BEGIN RSA PRIVATE KEY has no END"},
		"another's passphrase":       {"keys/2026-01-01.pass", "second-pass", "keys/2026-01-01.pem: private key: the passphrase does not open"},
		"a key without a passphrase": {"keys/2026-02-02.pem", string(good), "keys/2026-02-02.pem: private key: it is encrypted and there is no passphrase"},
		"a name without a date":      {"keys/flow.pem", string(good), "keys/flow.pem: its name does not say when"},
		"a public key":               {"keys/2026-02-02.pem", string(flowcrypto.PublicPEM(first)), "keys/2026-02-02.pem: private key: it is a public key"},
		"the last key is gone":       {"keys/2026-01-01.pem", "-", "all private keys are gone: there is no private key in " + files.path("keys")},
		"no app secret":              {"app_secret", "", "app_secret 1: the placeholder {file." + files.path("app_secret") + "} is empty"},
		"an example's app secret":    {"app_secret", "changeme", "app_secret 1: it still holds the placeholder"},
		"two app secrets as one":     {"app_secret", "fedcba98765432100123456789abcdef," + testSecret, "app_secret 1 holds a comma or a line end"},
		"the app secret's file gone": {"app_secret", "-", "app_secret 1: the placeholder {file." + files.path("app_secret") + "}"},
	} {
		t.Run(name, func(t *testing.T) {
			path := files.path(c.file)
			before, missing := os.ReadFile(path)
			if c.content == "-" {
				if err := os.Remove(path); err != nil {
					t.Fatal(err)
				}
			} else {
				files.write(c.file, c.content)
			}
			defer func() {
				if missing != nil {
					_ = os.Remove(path)
				} else {
					files.write(c.file, string(before))
				}
			}()
			status, body := admin(t, http.MethodPost, "/whatsapp_flows/reload")
			if status != http.StatusUnprocessableEntity || !strings.HasPrefix(body, "account default: ") || !strings.Contains(body, c.want) {
				t.Errorf("status %d: %s\nexpected 422 and %q", status, body, c.want)
			}
			for _, private := range []string{"first-pass", "second-pass", testSecret} {
				if strings.Contains(body, private) {
					t.Errorf("the error holds %q", private)
				}
			}
			if got := s.pings(first, testSecret); got != http.StatusOK {
				t.Errorf("after it a ping gets %d", got)
			}
		})
	}
	if keys := heldKeysOf(t); len(keys) != 1 {
		t.Errorf("%d keys are held, expected one", len(keys))
	}
	log, err := os.ReadFile(s.log)
	if err != nil || !bytes.Contains(log, []byte("secrets and keys stay as they were")) {
		t.Errorf("the log does not say so (%v)", err)
	}
}

// An operator who reloads while Caddy is changing its configuration is told the
// truth: both configurations have the new key, whichever wins.
func TestAReloadDuringAChangeOfTheConfigurationIsNotLost(t *testing.T) {
	s, files, _ := serving(t)

	var config caddy.Config
	if err := json.Unmarshal(s.adapt(files.global(), engineSite), &config); err != nil {
		t.Fatal(err)
	}
	next, err := caddy.ProvisionContext(&config) // what Caddy does before it hands over
	if err != nil {
		t.Fatal(err)
	}
	files.write("keys/2026-02-02.pass", "second-pass")
	second := files.key("2026-02-02.pem", "second-pass")
	if status, body := admin(t, http.MethodPost, "/whatsapp_flows/reload"); status != http.StatusOK {
		t.Fatalf("status %d: %s", status, body)
	}
	module, err := next.App(appID)
	if err != nil {
		t.Fatal(err)
	}
	coming := module.(*App)
	if keys := coming.Accounts[defaultAccount].current.Load().keys; len(keys) != 2 || keys[0].fingerprint != flowcrypto.Fingerprint(second) {
		t.Errorf("the coming configuration has %d keys", len(keys))
	}
	if err := coming.Cleanup(); err != nil { // it is given up
		t.Error(err)
	}
	if got := s.pings(second, testSecret); got != http.StatusOK {
		t.Errorf("the serving configuration answers the new key with %d", got)
	}
}

func TestTheAdminAPIAnswersWhoAsksRightly(t *testing.T) {
	if status, body := admin(t, http.MethodGet, "/whatsapp_flows/keys"); status != http.StatusNotFound || !strings.Contains(body, "serves no WhatsApp Flows") {
		t.Errorf("a Caddy without flows: status %d: %s", status, body)
	}
	for path, method := range map[string]string{"/whatsapp_flows/keys": http.MethodPost, "/whatsapp_flows/reload": http.MethodGet} {
		if status, body := admin(t, method, path); status != http.StatusMethodNotAllowed {
			t.Errorf("%s %s: status %d: %s", method, path, status, body)
		}
	}
}

func TestKeysOfTheEnvironmentsDirectoryComeBeforePRIVATE_KEY(t *testing.T) {
	files := newKeyFiles(t)
	first := files.key("2026-01-01.pem", "first-pass")
	s := newSite(t)
	// A path from the edge's working directory, which is nobody else's.
	here, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	relative, err := filepath.Rel(here, files.path("keys"))
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("PRIVATE_KEYS_DIR", relative)
	t.Setenv("PASSPHRASE", "first-pass") // of the key that has none beside it
	s.load("", engineSite+"\n\tmetrics /metrics")
	keys := heldKeysOf(t)
	if len(keys) != 2 || keys[0].Fingerprint != flowcrypto.Fingerprint(first) || keys[1].Fingerprint != flowcrypto.Fingerprint(s.public) {
		t.Fatalf("the keys are %+v", keys)
	}
	if keys[0].Source != files.path("keys/2026-01-01.pem") || keys[1].Source != "PRIVATE_KEY_FILE (testdata/flow.pem)" {
		t.Errorf("they come from %q and %q", keys[0].Source, keys[1].Source)
	}
	metrics := string(s.do(http.MethodGet, "/metrics", nil, nil).body)
	for _, want := range []string{
		`caddy_whatsapp_flows_private_key_position{account="default",key="` + keys[0].Fingerprint[:12] + `"} 1`,
		`caddy_whatsapp_flows_private_key_position{account="default",key="` + keys[1].Fingerprint[:12] + `"} 2`,
		`caddy_whatsapp_flows_secrets_loaded_timestamp_seconds{account="default"} 1.`,
	} {
		if !strings.Contains(metrics, want) {
			t.Errorf("the metrics have no %s", want)
		}
	}
}

func TestTheDaysShareForgetsWhatIsOlder(t *testing.T) {
	use := useOf("share", strings.Repeat("ab", 32), time.Unix(0, 0))
	start := time.Date(2026, 11, 29, 9, 30, 0, 0, time.UTC)
	for _, c := range []struct {
		name  string
		after time.Duration
		opens int
		want  uint64
	}{
		{"at first", 0, 3, 3},
		{"within the hour", 10 * time.Minute, 2, 5},
		{"in the next hour", time.Hour, 1, 6},
		{"a day later, minus a minute", 24*time.Hour - time.Minute, 0, 6},
		{"a day and an hour later", 25 * time.Hour, 0, 1},
		{"into the slot of the first hour", 25 * time.Hour, 4, 5},
		{"much later", 1000 * time.Hour, 0, 0},
	} {
		now := start.Add(c.after)
		for range c.opens {
			use.count(now)
		}
		if got := use.day(now); got != c.want {
			t.Errorf("%s: %d were opened in the last day, expected %d", c.name, got, c.want)
		}
	}
	if use.opened.Load() != 10 {
		t.Errorf("%d in all, expected 10", use.opened.Load())
	}
}

// A key that is there already is neither opened again nor closed with the set that
// had it; one that is gone is closed after the grace.
func TestAReloadOpensNewKeysOnly(t *testing.T) {
	s, files, first := serving(t)
	app, err := caddy.ActiveContext().App(appID)
	if err != nil {
		t.Fatal(err)
	}
	held := func() []accountKey { return app.(*App).Accounts[defaultAccount].current.Load().keys }
	reload := func(keys int) {
		t.Helper()
		if status, body := admin(t, http.MethodPost, "/whatsapp_flows/reload"); status != http.StatusOK || len(held()) != keys {
			t.Fatalf("status %d, %d keys, expected %d: %s", status, len(held()), keys, body)
		}
	}
	kept := held()[0].Decrypter
	files.write("keys/2026-02-02.pass", "second-pass")
	files.key("2026-02-02.pem", "second-pass")
	reload(2)
	gone := held()[0].Decrypter
	if held()[1].Decrypter != kept {
		t.Error("the key that was there is made anew")
	}
	if err := os.Remove(files.path("keys/2026-02-02.pem")); err != nil {
		t.Fatal(err)
	}
	reload(1)
	if gone, ok := gone.(*libcrypto.Key); ok {
		eventually(t, 10*time.Second, "the key that is gone is closed", func() bool {
			_, err := gone.Decrypt(rand.Reader, make([]byte, 256), &rsa.OAEPOptions{Hash: crypto.SHA256, MGFHash: crypto.SHA256})
			return errors.Is(err, libcrypto.ErrClosed)
		})
	}
	if got := s.pings(first, testSecret); got != http.StatusOK || held()[0].Decrypter != kept {
		t.Errorf("the key that stays answers %d", got)
	}
}

// Requests run while keys change under them: each finds one whole set.
func TestNoRequestMeetsAHalfReloadedAccount(t *testing.T) {
	s, files, first := serving(t)

	files.write("keys/2026-02-02.pass", "second-pass")
	files.key("2026-02-02.pem", "second-pass")
	second, err := os.ReadFile(files.path("keys/2026-02-02.pem"))
	if err != nil {
		t.Fatal(err)
	}
	stop := make(chan struct{})
	var users sync.WaitGroup
	for range 4 {
		users.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				// A machine that has too much to do may say so, but no more.
				if got := s.pings(first, testSecret); got != http.StatusOK && got != http.StatusServiceUnavailable {
					t.Errorf("a ping gets %d", got)
					return
				}
			}
		})
	}
	for i := range 40 {
		// Another key comes and goes.
		if i%2 == 0 {
			files.write("keys/2026-02-02.pem", string(second))
		} else if err := os.Remove(files.path("keys/2026-02-02.pem")); err != nil {
			t.Error(err)
		}
		if status, body := admin(t, http.MethodPost, "/whatsapp_flows/reload"); status != http.StatusOK {
			t.Errorf("reload %d: status %d: %s", i, status, body)
		}
	}
	close(stop)
	users.Wait()
	if got := s.pings(first, testSecret); got != http.StatusOK {
		t.Errorf("afterwards a ping gets %d", got)
	}
}
