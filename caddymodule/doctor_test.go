package caddymodule

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io"
	"maps"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/spf13/cobra"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/doctor"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/doctor/doctortest"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/doctor/metacheck"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/doctor/publiccheck"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/doctor/redischeck"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/setting"
)

// doctorProof holds for every table of faults. Servers of tests write as little as
// they can.
var doctorProof = doctortest.Proof{Skips: true, Leave: []string{redischeck.Persistence, redischeck.Fsync}, Secrets: []string{testSecret, testVerify, "geheim-und-lang"}}

// traces are the keys of the edge in Redis and how long its streams are, but for
// what it says of itself.
func (p *patient) traces() map[string]string {
	all := map[string]string{}
	iter := p.redis.Scan(context.Background(), 0, p.prefix+"*", 1000).Iterator()
	for iter.Next(context.Background()) {
		// What the edge says of itself comes by itself.
		if key := iter.Val(); key != p.keys.Edges() && !strings.HasSuffix(key, ":events") {
			all[key] = ""
		}
	}
	for _, e := range p.events() { // without marks
		all["event "+e.ID] = string(e.Kind)
	}
	return all
}

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

func (f *keyFiles) remove(name string) {
	f.t.Helper()
	if err := os.Remove(f.path(name)); err != nil {
		f.t.Fatal(err)
	}
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
		{"a configuration that is null", func(_ *testing.T, p *patient) {
			p.files.write("caddy.json", "null")
			p.doctor.config, p.doctor.adapter = p.files.path("caddy.json"), ""
		}, map[string]string{configurationName: "fail caddy.json is null"}},
		{"a configuration of another shape", func(_ *testing.T, p *patient) {
			p.files.write("caddy.json", `{"apps":{"whatsapp_flows":{"accounts":[]}}}`)
			p.doctor.config, p.doctor.adapter = p.files.path("caddy.json"), ""
		}, map[string]string{configurationName: "fail cannot unmarshal array"}},
		{"an account that is null", func(t *testing.T, p *patient) {
			p.files.write("caddy.json", `{"admin":{"disabled":true},"apps":{"whatsapp_flows":{"accounts":{"default":null}},"http":{"servers":{"x":{"routes":[null,{"handle":[null]}]}}}}}`)
			p.doctor.config, p.doctor.adapter = p.files.path("caddy.json"), ""
		}, map[string]string{secretsName: "fail META_APP_SECRET", keysName: "fail PRIVATE_KEY", configurationName: skipped, runningName: doctortest.Anything, redischeck.Flows: "warn none"}},
		{"another part of the Caddyfile does not load", func(_ *testing.T, p *patient) {
			p.files.write("Caddyfile", p.configuration(p.account())+"https://other.localhost {\n\ttls /no/such.pem /no/such.key\n}\n")
		}, map[string]string{configurationName: "fail /no/such.pem"}},
		{"no room for a temporary directory", func(t *testing.T, p *patient) { t.Setenv("TMPDIR", p.files.path("none")) },
			map[string]string{configurationName: "skipped `caddy validate` tells"}},
		{"signed tokens without a secret", func(t *testing.T, p *patient) {
			p.files.write("Caddyfile", p.configuration(p.account()+"\n\t\t\trequire_signed_tokens"))
		}, map[string]string{secretsName: "fail require_signed_tokens", configurationName: skipped}},
		{"no key", func(_ *testing.T, p *patient) {
			p.files.write("Caddyfile", p.configuration(p.account()[:strings.Index(p.account(), "\n\t\t\tprivate_keys")]))
		}, map[string]string{keysName: "fail PRIVATE_KEY", configurationName: skipped, runningName: "fail the configuration has none"}},
		{"a directory without a key", func(_ *testing.T, p *patient) { p.files.remove("keys/2026-11-01.pem") },
			map[string]string{keysName: "fail there is no private key in", configurationName: skipped, runningName: "fail the configuration has none"}},
		{"the edge runs without an account", func(_ *testing.T, p *patient) {
			p.files.write("Caddyfile", strings.Replace(p.configuration(p.account()), "account default", "account shop", 1))
		}, map[string]string{runningName: "warn no account shop"}},
		{"an edge that does not answer at its admin address", func(_ *testing.T, p *patient) {
			p.doctor.admin = func(string, string, string) (io.ReadCloser, error) { return nil, errors.New("connection refused") }
		}, map[string]string{runningName: "skipped no edge answers"}},
		{"another version at the admin address", func(_ *testing.T, p *patient) {
			p.doctor.admin = func(string, string, string) (io.ReadCloser, error) { return io.NopCloser(strings.NewReader("[]")), nil }
		}, map[string]string{runningName: "skipped another version"}},
		{"a URL of the Graph API that is none", func(t *testing.T, _ *patient) {
			t.Setenv("META_ACCESS_TOKEN", "geheim-und-lang")
			t.Setenv("META_GRAPH_URL", "graph")
		}, map[string]string{metacheck.Token: "fail the URL of the Graph API is none"}},
		{"replicas that are waited for and not there", func(t *testing.T, p *patient) {
			p.files.write("Caddyfile", strings.Replace(p.configuration(p.account()), "whatsapp_flows {\n", "whatsapp_flows {\n\t\tredis {env.REDIS_URL} {\n\t\t\twait 1 50ms\n\t\t}\n", 1))
		}, map[string]string{redischeck.Writable: "fail wait asks for 1 replicas"}},
		{"a clock that is off", func(_ *testing.T, p *patient) {
			p.doctor.now = func() time.Time { return time.Now().Add(2 * time.Minute) }
		}, map[string]string{"clock: against Redis": "fail ahead of", "clock: against the public URL": "fail ahead of"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := newPatient(t)
			if c.breaks != nil {
				c.breaks(t, p)
			}
			before := p.traces()
			report, err := p.doctor.run(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			doctorProof.Compare(t, report, c.want)
			if after := p.traces(); !maps.Equal(before, after) {
				t.Errorf("it left something in Redis: %q, before %q", after, before)
			}
			if c.name == "nothing" && report.Find(publiccheck.RoundTrip).Status != doctor.OK {
				t.Errorf("no round trip: %+v", report.Findings)
			}
		})
	}
}

// Where a site is reached, read from what the Caddyfile says.
func TestTheSiteIsFoundInTheConfiguration(t *testing.T) {
	type urls struct{ endpoint, webhook string }
	for name, c := range map[string]struct {
		caddyfile string
		want      map[string]urls // by account
	}{
		"a public name": {"flows.example.com {\n\twhatsapp_webhook /webhooks/whatsapp\n\twhatsapp_flow /flows/endpoint/* {\n\t\tendpoint engine\n\t}\n}",
			map[string]urls{"default": {"https://flows.example.com/flows/endpoint/book", "https://flows.example.com/webhooks/whatsapp"}}},
		"another port": {"flows.example.com:8443 {\n\twhatsapp_flow /flows/endpoint/* {\n\t\tendpoint engine\n\t}\n}",
			map[string]urls{"default": {"https://flows.example.com:8443/flows/endpoint/book", ""}}},
		"plain http": {"http://flows.example.com {\n\twhatsapp_flow /flows/endpoint/*\n}", map[string]urls{"default": {"http://flows.example.com/flows/endpoint/book", ""}}},
		"one flow on a path of its own": {"flows.example.com {\n\thandle /forms/dinner {\n\t\twhatsapp_flow {\n\t\t\tflow book\n\t\t}\n\t\trespond 200\n\t}\n}",
			map[string]urls{"default": {"https://flows.example.com/forms/dinner", ""}}},
		"no name": {":8443 {\n\twhatsapp_flow /flows/endpoint/*\n}", map[string]urls{"default": {}}},
		"webhooks have a site of their own": {"flows.example.com {\n\twhatsapp_flow /flows/endpoint/*\n}\nhooks.example.com {\n\twhatsapp_webhook /webhooks/whatsapp\n}",
			map[string]urls{"default": {"https://flows.example.com/flows/endpoint/book", "https://hooks.example.com/webhooks/whatsapp"}}},
		"each account has a site of its own": {"a.example.com {\n\twhatsapp_flow /flows/endpoint/* a\n\twhatsapp_webhook /webhooks/whatsapp a\n}\nb.example.com {\n\twhatsapp_flow /flows/endpoint/* b\n\twhatsapp_webhook /webhooks/whatsapp b\n}",
			map[string]urls{"a": {"https://a.example.com/flows/endpoint/book", "https://a.example.com/webhooks/whatsapp"}, "b": {"https://b.example.com/flows/endpoint/book", "https://b.example.com/webhooks/whatsapp"}}},
		"a site without a name beside one that has": {":8443 {\n\twhatsapp_flow /flows/endpoint/*\n}\nflows.example.com {\n\twhatsapp_flow /flows/endpoint/*\n}",
			map[string]urls{"default": {"https://flows.example.com/flows/endpoint/book", ""}}},
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
			for account, want := range c.want {
				a := &examinedAccount{&Account{name: account}, &credentials{}, len(c.want) == 1}
				got := examination{now: time.Now, flow: "book"}.public(a, target{}, sitesOf(config), nil)
				if got.Endpoint != want.endpoint || got.Webhook != want.webhook {
					t.Errorf("%s: endpoint %q, webhook %q", account, got.Endpoint, got.Webhook)
				}
			}
		})
	}
}

// What Meta's Flow JSON is compared with.
func TestTheFlowsOfADirectoryAreKnown(t *testing.T) {
	a := &examinedAccount{&Account{name: "default"}, &credentials{}, true}
	here := sites{{flows: "testdata/flows"}}.definitions(a, nil)
	if len(here) == 0 {
		t.Fatal("no flow of the directory is known")
	}
	for name, flowJSON := range here {
		if len(flowJSON) == 0 {
			t.Errorf("%s has no Flow JSON", name)
		}
	}
	if next := (sites{{next: true}}).definitions(a, map[string][]byte{}); next != nil {
		t.Errorf("another handler answers, and yet %v are known", next)
	}
}

// Caddy's own authority is for sites of this machine alone.
func TestASiteOfThisMachineTrustsNoMoreForOthers(t *testing.T) {
	roots := x509.NewCertPool()
	data := t.TempDir()
	t.Setenv("XDG_DATA_HOME", data)
	local := filepath.Join(data, "caddy", "pki", "authorities", "local")
	text := selfSigned(t)
	if err := errors.Join(os.MkdirAll(local, 0o700), os.WriteFile(filepath.Join(local, "root.crt"), text, 0o600)); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		urls []string
		more bool
	}{
		"this machine":               {[]string{"https://localhost/x", "https://127.0.0.1/y"}, true},
		"a name of this machine":     {[]string{"https://flows.localhost/x", ""}, true},
		"the internet":               {[]string{"https://flows.example.com/x"}, false},
		"this machine and the other": {[]string{"https://localhost/x", "https://flows.example.com/y"}, false},
	} {
		t.Run(name, func(t *testing.T) {
			trusts := client(roots, c.urls...).Transport.(*http.Transport).TLSClientConfig.RootCAs
			if more := !trusts.Equal(roots); more != c.more {
				t.Errorf("it trusts more: %v", more)
			}
		})
	}
}

func selfSigned(t *testing.T) []byte {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

// What a text tells people to run is there.
func TestEveryCommandThatDoctorNamesExists(t *testing.T) {
	commands, err := doctortest.Commands("doctor*.go", "../shared/doctor/*.go", "../shared/doctor/*/*.go", "../worker/internal/doctor/*.go", "../worker/cmd/worker/doctor.go")
	if err != nil {
		t.Fatal(err)
	}
	root := &cobra.Command{Use: "whatsapp-flows"}
	for _, subcommand := range subcommands {
		root.AddCommand(subcommand())
	}
	seen := 0
	for at, texts := range commands {
		for _, text := range texts {
			words := strings.Fields(text)
			switch {
			case words[0] == "caddy" && len(words) > 1 && words[1] == "whatsapp-flows":
				words = words[2:]
			case words[0] == "keys":
			case words[0] == "caddy":
				if _, ok := caddycmd.Commands()[words[1]]; !ok {
					t.Errorf("%s: there is no `%s`", at, text)
				}
				continue
			default:
				continue
			}
			seen++
			found, rest, err := root.Find(words)
			if err != nil || found == root {
				t.Errorf("%s: there is no `%s`: %v", at, text, err)
				continue
			}
			for _, word := range rest {
				if flag, isFlag := strings.CutPrefix(word, "--"); isFlag && found.Flag(flag) == nil {
					t.Errorf("%s: `%s` has no --%s", at, text, flag)
				} else if !isFlag && word == strings.ToLower(word) && found.HasSubCommands() {
					t.Errorf("%s: there is no `%s`", at, text)
				}
			}
		}
	}
	if seen < 5 {
		t.Errorf("only %d commands are named", seen)
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
