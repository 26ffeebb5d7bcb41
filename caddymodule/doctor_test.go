package caddymodule

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/doctor"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/doctor/publiccheck"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/doctor/redischeck"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/setting"
)

// patient is a running edge and the configuration file it was started with.
type patient struct {
	*site
	files  *keyFiles
	path   string
	port   string
	doctor examination
}

// configuration is the text of the Caddyfile, with secrets from files.
func (p *patient) configuration(account string) string {
	return "{\n\tadmin off\n\tpersist_config off\n\thttp_port " + p.port + "\n\tlog {\n\t\toutput file " + p.log + " {\n\t\t\troll_disabled\n\t\t}\n\t}\n\twhatsapp_flows {\n\t\taccount default {\n" + account + "\n\t\t}\n\t}\n}\n" +
		"http://127.0.0.1:" + p.port + " {\n\tlog\n\twhatsapp_webhook /webhooks/whatsapp\n\twhatsapp_flow /flows/endpoint/* {\n\t\tendpoint engine\n\t\tflows testdata/flows\n\t}\n}\n"
}

func (p *patient) account() string {
	return "\t\t\tapp_secret {file." + p.files.path("app_secret") + "}\n\t\t\tverify_token {file." + p.files.path("verify_token") + "}\n\t\t\tprivate_keys " + p.files.path("keys") + " {file." + p.files.path("word") + "}"
}

// soundKey writes a new key in a form that is not weak, and cheap to open: not
// encrypted.
func (f *keyFiles) soundKey(name string) {
	f.t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		f.t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		f.t.Fatal(err)
	}
	f.write(name, string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})))
}

func newPatient(t *testing.T) *patient {
	t.Helper()
	s := newSite(t)
	for _, name := range []string{"META_APP_SECRET", "META_VERIFY_TOKEN", "PRIVATE_KEY_FILE"} {
		t.Setenv(name, "")
	}
	t.Setenv("REDIS_URL", redisURL(t))
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_, port, _ := net.SplitHostPort(listener.Addr().String())
	_ = listener.Close()
	p := &patient{site: s, files: newKeyFiles(t), port: port}
	p.files.write("verify_token", testVerify)
	p.files.write("word", "word")
	p.files.soundKey("keys/2026-11-01.pem")
	p.path = p.files.path("Caddyfile")
	p.files.write("Caddyfile", p.configuration(p.account()))
	adapted, _, err := caddyconfig.GetAdapter("caddyfile").Adapt([]byte(p.configuration(p.account())), map[string]any{"filename": "Caddyfile"})
	if err != nil {
		t.Fatal(err)
	}
	if err := caddy.Load(adapted, true); err != nil {
		t.Fatal(err)
	}
	p.doctor = examination{config: p.path, adapter: "caddyfile", now: time.Now, stat: os.Stat,
		env: setting.Source{LookupEnv: os.LookupEnv, ReadFile: os.ReadFile},
		admin: func(_, _, path string) (io.ReadCloser, error) {
			for _, route := range (adminAPI{}).Routes() {
				if route.Pattern == path {
					recorder := httptest.NewRecorder()
					err := route.Handler.ServeHTTP(recorder, httptest.NewRequest("GET", path, nil))
					return recorder.Result().Body, err
				}
			}
			return nil, errors.New("no such route")
		}}
	return p
}

// Each case breaks one thing of a running edge; every finding that is not named
// (finding → status, a space, what its evidence holds) stays fine or skipped.
func TestEachFaultOfAnEdgeIsFoundAndNoOther(t *testing.T) {
	const skipped = "skipped "
	rest := map[string]string{publiccheck.Bytes: skipped, publiccheck.Signature: skipped, publiccheck.Latency: skipped}
	with := func(want map[string]string) map[string]string {
		for name, status := range rest {
			want[name] = status
		}
		return want
	}
	for _, c := range []struct {
		name   string
		breaks func(*testing.T, *patient)
		want   map[string]string
	}{
		{"nothing", nil, nil},
		{"no such file", func(_ *testing.T, p *patient) { p.doctor.config = p.files.path("Caddyfil") },
			map[string]string{configurationName: "fail no such file"}},
		{"a mistake in the Caddyfile", func(_ *testing.T, p *patient) { p.files.write("Caddyfile", p.configuration("\t\t\tapp_secrets x")) },
			map[string]string{configurationName: "fail app_secrets"}},
		{"a placeholder that is empty", func(_ *testing.T, p *patient) {
			p.files.write("Caddyfile", p.configuration(strings.Replace(p.account(), "app_secret {file."+p.files.path("app_secret")+"}", "app_secret {env.NO_SUCH_SECRET}", 1)))
		}, map[string]string{secretsName: "fail {env.NO_SUCH_SECRET}", configurationName: skipped, publiccheck.TLS: skipped, publiccheck.RoundTrip: skipped,
			publiccheck.Bytes: skipped, publiccheck.Signature: skipped, publiccheck.Latency: skipped, publiccheck.Handshake: skipped, publiccheck.WrongToken: skipped, publiccheck.Post: skipped}},
		{"the placeholder of an example", func(_ *testing.T, p *patient) { p.files.write("verify_token", "your_verify_token_here") },
			map[string]string{secretsName: "fail placeholder of an example", configurationName: skipped, publiccheck.Handshake: skipped, publiccheck.WrongToken: skipped, publiccheck.Post: skipped}},
		{"a secret in the Caddyfile", func(_ *testing.T, p *patient) {
			p.files.write("Caddyfile", p.configuration(strings.Replace(p.account(), "{file."+p.files.path("app_secret")+"}", testSecret, 1)))
		}, map[string]string{literalsName: "warn app_secret"}},
		{"a secret that is none of Meta's", func(_ *testing.T, p *patient) {
			p.files.write("app_secret", testSecret[:31]+"\n")
		}, with(map[string]string{secretsName: "warn 31 characters", publiccheck.RoundTrip: "fail 432"})},
		{"the app secret was changed and not reloaded", func(_ *testing.T, p *patient) { p.files.write("app_secret", strings.Repeat("0", 32)) },
			with(map[string]string{publiccheck.RoundTrip: "fail 432"})},
		{"a new key that is not reloaded", func(_ *testing.T, p *patient) { p.files.soundKey("keys/2026-11-29.pem") },
			with(map[string]string{publiccheck.RoundTrip: "fail 421", runningName: "fail the edge runs with"})},
		{"another verify token", func(_ *testing.T, p *patient) { p.files.write("verify_token", "another-horse") },
			map[string]string{publiccheck.Handshake: "fail 403"}},
		{"a broken key", func(_ *testing.T, p *patient) {
			p.files.write("keys/2026-11-29.pem", "-----BEGIN PRIVATE KEY-----\nMII")
		},
			map[string]string{keysName: "fail 2026-11-29.pem", configurationName: skipped, publiccheck.TLS: "any", publiccheck.RoundTrip: "any", publiccheck.Bytes: "any", publiccheck.Signature: "any", publiccheck.Latency: "any", runningName: "any"}},
		{"a weak key file", func(_ *testing.T, p *patient) {
			p.files.key("2026-10-01.pem", "word")
		}, map[string]string{keysName: "warn MD5", runningName: "fail the edge runs with"}},
		{"a public key of another", func(_ *testing.T, p *patient) {
			text, err := os.ReadFile("testdata/rsa_public.pem")
			if err != nil {
				panic(err)
			}
			p.files.write("keys/2026-11-01.pub", string(text))
		}, map[string]string{keysName: "fail belongs to no private key here", configurationName: skipped}},
		{"a key that everyone reads", func(t *testing.T, p *patient) {
			open := filepath.Join(p.files.dir, "keys", "2026-11-01.pem")
			if err := errors.Join(os.Chmod(p.files.dir, 0o755), os.Chmod(p.files.path("keys"), 0o755), os.Chmod(open, 0o644)); err != nil {
				t.Fatal(err)
			}
			// What is above is not ours.
			p.doctor.stat = func(path string) (os.FileInfo, error) {
				if !strings.HasPrefix(path, p.files.dir) {
					path = "/"
				}
				return os.Stat(path)
			}
		}, map[string]string{modesName: "fail 2026-11-01.pem (0644) can be read by everyone", configurationName: skipped}},
		{"no Redis", func(t *testing.T, p *patient) { t.Setenv("REDIS_URL", "redis://u:geheim-und-lang@127.0.0.1:1") },
			map[string]string{redischeck.Reachable: "fail connection refused"}},
		{"a Redis URL that is none", func(t *testing.T, p *patient) { t.Setenv("REDIS_URL", "geheim-und-lang") },
			map[string]string{redisName: "fail it has no scheme", configurationName: skipped}},
		{"Redis is in use with more shards", func(t *testing.T, p *patient) { t.Setenv("REDIS_SHARDS", "8") },
			map[string]string{redischeck.Shards: "fail 8 configured, this Redis is in use with 4"}},
		{"no such flow", func(_ *testing.T, p *patient) { p.doctor.flow = "bock" },
			with(map[string]string{publiccheck.RoundTrip: "fail 404"})},
		{"a URL where nobody is", func(_ *testing.T, p *patient) { p.doctor.url = "http://127.0.0.1:1" },
			map[string]string{publiccheck.TLS: "fail connection refused", publiccheck.RoundTrip: skipped, publiccheck.Bytes: skipped, publiccheck.Signature: skipped, publiccheck.Latency: skipped,
				publiccheck.Handshake: "fail connection refused", publiccheck.WrongToken: skipped, publiccheck.Post: skipped}},
		{"a clock that is off", func(_ *testing.T, p *patient) {
			p.doctor.now = func() time.Time { return time.Now().Add(2 * time.Minute) }
		}, map[string]string{"clock: against Redis": "fail ahead of", "clock: against the public URL": "fail ahead of"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := newPatient(t)
			if c.breaks != nil {
				c.breaks(t, p)
			}
			report, err := p.doctor.run(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			for _, f := range report.Findings {
				// Servers of tests write as little as they can.
				if f.Name == redischeck.Persistence {
					continue
				}
				status, evidence, named := strings.Cut(c.want[f.Name], " ")
				switch {
				case c.want[f.Name] == "any":
					continue
				case !named && f.Status == doctor.Skipped:
					status = "skipped"
				case !named:
					status = "ok"
				}
				if string(f.Status) != status || !strings.Contains(f.Evidence, evidence) {
					t.Errorf("%+v, want %s with %q", f, status, evidence)
				}
				if (f.Status == doctor.Fail || f.Status == doctor.Warn) && (f.Meaning == "" || f.Fix == "") {
					t.Errorf("%+v has no meaning or fix", f)
				}
				for _, private := range []string{testSecret, testVerify, "geheim-und-lang"} {
					if strings.Contains(fmt.Sprint(f), private) {
						t.Errorf("%+v shows a secret", f)
					}
				}
			}
			for name := range c.want {
				if report.Find(name).Evidence == "" {
					t.Errorf("nothing is said of %s", name)
				}
			}
			if c.name == "nothing" && report.Find(publiccheck.RoundTrip).Status != doctor.OK {
				t.Errorf("no round trip: %+v", report.Findings)
			}
		})
	}
}

// Where a site is reached, read from what the Caddyfile says.
func TestTheSiteIsFoundInTheConfiguration(t *testing.T) {
	for name, c := range map[string]struct {
		caddyfile, endpoint, webhook string
	}{
		"a public name": {"flows.example.com {\n\twhatsapp_webhook /webhooks/whatsapp\n\twhatsapp_flow /flows/endpoint/* {\n\t\tendpoint engine\n\t}\n}",
			"https://flows.example.com/flows/endpoint/book", "https://flows.example.com/webhooks/whatsapp"},
		"another port": {"flows.example.com:8443 {\n\twhatsapp_flow /flows/endpoint/* {\n\t\tendpoint engine\n\t}\n}",
			"https://flows.example.com:8443/flows/endpoint/book", ""},
		"plain http": {"http://flows.example.com {\n\twhatsapp_flow /flows/endpoint/*\n}", "http://flows.example.com/flows/endpoint/book", ""},
		"one flow on a path of its own": {"flows.example.com {\n\thandle /forms/dinner {\n\t\twhatsapp_flow {\n\t\t\tflow book\n\t\t}\n\t\trespond 200\n\t}\n}",
			"https://flows.example.com/forms/dinner", ""},
		"no name": {":8443 {\n\twhatsapp_flow /flows/endpoint/*\n}", "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			adapted, _, err := caddyconfig.GetAdapter("caddyfile").Adapt([]byte(c.caddyfile), map[string]any{"filename": "Caddyfile"})
			if err != nil {
				t.Fatal(err)
			}
			var config *caddy.Config
			if err := caddy.StrictUnmarshalJSON(adapted, &config); err != nil {
				t.Fatal(err)
			}
			a := &examinedAccount{&Account{name: "default"}, &credentials{}, true}
			got := examination{now: time.Now, flow: "book"}.public(a, target{}, sitesOf(config), nil)
			if got.Endpoint != c.endpoint || got.Webhook != c.webhook {
				t.Errorf("endpoint %q, webhook %q", got.Endpoint, got.Webhook)
			}
		})
	}
}

func TestURLsOfTheCommandLine(t *testing.T) {
	for text, want := range map[string]target{
		"":                              {},
		"https://flows.example.com":     {base: "https://flows.example.com"},
		"https://flows.example.com/":    {base: "https://flows.example.com"},
		"https://a.example/f?flow=book": {base: "https://a.example", path: "/f?flow=book"},
	} {
		if got, err := parseTarget(text); err != nil || got != want {
			t.Errorf("%q: %+v, %v", text, got, err)
		}
	}
	for _, text := range []string{"flows.example.com", "ftp://a.example", "https://u:p@a.example", "https://"} {
		if _, err := parseTarget(text); err == nil {
			t.Errorf("%q is taken", text)
		}
	}
}
