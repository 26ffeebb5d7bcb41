package caddymodule

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/setting"
)

func TestWhatValidateRefuses(t *testing.T) {
	const sites = engineSite
	account := func(options string) string {
		return "\n\twhatsapp_flows {\n\t\taccount acme {\n" + options + "\n\t\t}\n\t}"
	}
	upstream := func(rest string) string {
		return "\n\twhatsapp_flows {\n\t\tupstream calendar " + rest + "\n\t}"
	}
	for name, c := range map[string]struct {
		env          map[string]string
		global, body string
		edit         [2]string // what the Caddyfile cannot say: in the JSON, old and new
		want         string
	}{
		"no app secret": {
			env: map[string]string{"META_APP_SECRET": ""}, body: sites,
			want: "account default: no app_secret, and neither META_APP_SECRET nor META_APP_SECRET_FILE is set: set one of them",
		},
		"an app secret twice": {
			env: map[string]string{"META_APP_SECRET_FILE": "/run/secrets/x"}, body: sites,
			want: "both META_APP_SECRET and META_APP_SECRET_FILE are set",
		},
		"the placeholder of an example": {
			env: map[string]string{"META_APP_SECRET": "your_app_secret_here"}, body: sites,
			want: "META_APP_SECRET still holds the placeholder",
		},
		"an empty placeholder": {
			global: account("app_secret {env.NOT_SET}"), body: sites,
			want: "app_secret 1: the placeholder {env.NOT_SET} is empty or cannot be read",
		},
		"a file that is not there": {
			global: account("app_secret x {file./not/there}"), body: sites,
			want: "app_secret 2: the placeholder {file./not/there} is empty or cannot be read",
		},
		"a misspelt placeholder": {
			global: account("app_secret {evn.SECRET}"), body: sites,
			want: "app_secret 1: it holds a placeholder that does not exist",
		},
		"no private key": {
			env: map[string]string{"PRIVATE_KEY_FILE": ""}, body: sites,
			want: "account default: no private_key, and neither PRIVATE_KEY nor PRIVATE_KEY_FILE is set",
		},
		"a private key twice": {
			env: map[string]string{"PRIVATE_KEY": "x"}, body: sites,
			want: "both PRIVATE_KEY and PRIVATE_KEY_FILE are set",
		},
		"a wrong passphrase": {
			global: account("private_key {file.testdata/flow_encrypted.pem} wrong"), body: sites,
			want: "private_key 1 ({file.testdata/flow_encrypted.pem}): ",
		},
		"a path in place of a key": {
			global: account("private_key testdata/flow.pem\n\t\t\tprivate_key /etc/flow.pem"), body: sites,
			want: "private_key 1: ",
		},
		"no verify token": {
			env: map[string]string{"META_VERIFY_TOKEN": ""}, body: sites,
			want: "account default: no verify_token, and neither META_VERIFY_TOKEN nor META_VERIFY_TOKEN_FILE is set",
		},
		"no redis": {
			env: map[string]string{"REDIS_URL": ""}, body: sites,
			want: "redis: no URL: neither REDIS_URL nor REDIS_URL_FILE is set",
		},
		"a redis URL of another kind": {
			env: map[string]string{"REDIS_URL": "https://:hunter22@example.com"}, body: sites,
			want: `the URL: it begins with "https://", expected redis://`,
		},
		"shards": {
			env: map[string]string{"REDIS_SHARDS": "many"}, body: sites,
			want: `REDIS_SHARDS is "many", expected a number of shards`,
		},
		"TLS for a URL without it": {
			global: "\n\twhatsapp_flows {\n\t\tredis redis://127.0.0.1:6379\n\t}", body: sites, edit: [2]string{`"redis":{`, `"redis":{"tls":true,`},
			want: "redis: address, master, sentinel_username, sentinel_password and tls are for",
		},
		"an unknown account": {
			body: "\twhatsapp_webhook /x acme",
			want: `unknown account "acme": the global option whatsapp_flows defines default`,
		},
		"signed tokens without a secret": {
			global: account("require_signed_tokens"), body: sites,
			want: "require_signed_tokens: no token_secret, and neither FLOW_TOKEN_SECRET",
		},
		"a directory that is not there": {
			body: "\twhatsapp_flow {\n\t\tendpoint engine\n\t\tflows /not/there\n\t}",
			want: "flows: stat /not/there: no such file or directory",
		},
		"a directory without flows": {
			body: "\twhatsapp_flow {\n\t\tendpoint engine\n\t\tflows internal\n\t}",
			want: "flows: internal holds no flow",
		},
		"a flow that fetches from an upstream there is not": {
			global: upstream("https://calendar.internal"), body: "\twhatsapp_flow {\n\t\tendpoint engine\n\t\tflows testdata/fetching\n\t}", edit: [2]string{`"calendar":`, `"calender":`},
			want: "flows testdata/fetching: flow slots: its logic fetches from calendar, but the global option whatsapp_flows defines as upstream: calender",
		},
		"a flow that fetches, and no upstream": {
			body: "\twhatsapp_flow {\n\t\tendpoint engine\n\t\tflows testdata/fetching\n\t}",
			want: "its logic fetches from calendar, but the global option whatsapp_flows defines as upstream: none",
		},
		"a flow that is not in the directory": {
			body: "\twhatsapp_flow {\n\t\tflow other\n\t\tflows testdata/flows\n\t}",
			want: `flow "other" is not in testdata/flows, which holds booking`,
		},
		"a timeout over WhatsApp's": {
			body: "\twhatsapp_flow {\n\t\ttimeout 12s\n\t}",
			want: "timeout is 12s, expected at least 1ms and at most 9s",
		},
		"a timeout in the environment": {
			env: map[string]string{"FLOW_ENDPOINT_TIMEOUT": "2.5s"}, body: sites,
			want: `FLOW_ENDPOINT_TIMEOUT is "2.5s", expected milliseconds`,
		},
		"a timeout in the environment over WhatsApp's": {
			env: map[string]string{"FLOW_ENDPOINT_TIMEOUT": "10000"}, body: sites,
			want: "FLOW_ENDPOINT_TIMEOUT is 10s, expected at least 1ms and at most 9s",
		},
		"an upstream without its secret": {
			global: upstream("https://calendar.internal {\n\t\t\theader Authorization \"Bearer {env.NOT_SET}\"\n\t\t}"), body: sites,
			want: "upstream calendar: header Authorization: the placeholder {env.NOT_SET} is empty or cannot be read",
		},
		"an upstream whose URL is not set": {
			global: upstream("{env.NOT_SET}"), body: sites,
			want: "upstream calendar: the URL: the placeholder {env.NOT_SET} is empty or cannot be read",
		},
		"an upstream whose URL holds a password": {
			env: map[string]string{"CALENDAR_URL": "https://ada:hunter22@calendar.internal"}, global: upstream("{env.CALENDAR_URL}"), body: sites,
			want: "upstream calendar: the URL holds a user or a password: send them as header Authorization",
		},
		"an upstream with a header of two lines": {
			env: map[string]string{"CALENDAR_KEY": "hunter22\nX-Admin: 1"}, global: upstream("https://calendar.internal {\n\t\t\theader X-Key {env.CALENDAR_KEY}\n\t\t}"), body: sites,
			want: "upstream calendar: header X-Key: its value is empty or holds a character that a header cannot",
		},
		"an upstream with a timeout over WhatsApp's": {
			global: upstream("https://calendar.internal {\n\t\t\ttimeout 10s\n\t\t}"), body: sites,
			want: "upstream calendar: timeout is 10s, expected at least 1ms and at most 9s",
		},
		"an upstream whose name cannot be": {
			global: upstream("https://calendar.internal"), body: sites, edit: [2]string{`"calendar":`, `"a/b":`},
			want: `upstream name "a/b": expected 1 to 128 of`,
		},
		"an upstream without URL": {
			global: upstream("https://calendar.internal"), body: sites, edit: [2]string{`"url":"https://calendar.internal"`, ``},
			want: "upstream calendar: no URL, expected one such as",
		},
		"a default flow that cannot be": {
			env: map[string]string{"DEFAULT_FLOW_NAME": "a/b"}, body: sites,
			want: `default_flow is "a/b", expected`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t)
			for variable, value := range c.env {
				t.Setenv(variable, value)
			}
			config := s.adapt(c.global, c.body)
			if c.edit[0] != "" {
				config = bytes.Replace(config, []byte(c.edit[0]), []byte(c.edit[1]), 1)
			}
			err := validate(config)
			if err == nil {
				t.Fatal("accepted")
			}
			if !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %q, expected %q", err, c.want)
			}
			for _, private := range []string{testSecret, "hunter22", "your_app_secret_here"} {
				if strings.Contains(err.Error(), private) {
					t.Errorf("the error holds a secret: %v", err)
				}
			}
			if n := len(liveBackends()); n != 0 {
				t.Errorf("%d clients are held after a refused configuration", n)
			}
		})
	}
}

// validate provisions a configuration as `caddy validate` does.
func validate(config []byte) error {
	var cfg caddy.Config
	if err := json.Unmarshal(config, &cfg); err != nil {
		return err
	}
	return caddy.Validate(&cfg)
}

func TestValidateNeedsNoNetwork(t *testing.T) {
	s := newSite(t)
	t.Setenv("REDIS_URL", "redis://redis.invalid:6379")
	if err := validate(s.adapt("", engineSite)); err != nil {
		t.Fatal(err)
	}
	if err := validate(s.adapt(`
	whatsapp_flows {
		redis sentinel {
			address sentinel-1.invalid:26379
			master mymaster
		}
	}`, engineSite)); err != nil {
		t.Fatal(err)
	}
	if err := validate(s.adapt(`
	whatsapp_flows {
		redis cluster {
			address node-1.invalid:6379 node-2.invalid:6379
			wait 1 50ms
		}
	}`, engineSite)); err != nil {
		t.Fatal(err)
	}
}

func TestSecretsFromFiles(t *testing.T) {
	s := newSite(t)
	dir := t.TempDir()
	for variable, value := range map[string]string{"META_APP_SECRET": testSecret + "\n", "META_VERIFY_TOKEN": testVerify + "\n"} {
		path := filepath.Join(dir, variable)
		if err := os.WriteFile(path, []byte(value), 0o600); err != nil {
			t.Fatal(err)
		}
		t.Setenv(variable, "")
		t.Setenv(variable+"_FILE", path)
	}
	s.load("", engineSite)
	s.want(booking, step("INIT", "", "tok", nil), "NAME")
	if a := s.do("GET", hook+"?hub.mode=subscribe&hub.challenge=1&hub.verify_token="+testVerify, nil, nil); a.status != 200 {
		t.Errorf("handshake: status %d", a.status)
	}
}

func TestSecretsOfAVariableAreSeparatedByCommas(t *testing.T) {
	for value, want := range map[string][]string{
		"one":                     {"one"},
		"new,old":                 {"new", "old"},
		" new , old,\n":           {"new", "old"},
		"new\nold\r\n":            {"new", "old"},
		"correct horse, and more": {"correct horse", "and more"}, // words are no secrets of their own
		",":                       {},
	} {
		env := setting.Source{LookupEnv: func(name string) (string, bool) {
			return map[string]string{"FLOW_TOKEN_SECRET": value}[name], true
		}}
		secrets, err := resolveSecrets("token_secret", nil, env, "FLOW_TOKEN_SECRET")
		got := make([]string, len(secrets))
		for i, secret := range secrets {
			got[i] = string(secret)
		}
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("%q gave %q, %v, expected %q", value, got, err, want)
		}
	}
}

func TestASecretNeverPrints(t *testing.T) {
	const value = secret("hunter22")
	core, logs := observer.New(zapcore.DebugLevel)
	zap.New(core).Info("x", zap.Any("value", value), zap.Stringer("s", value), zap.Reflect("r", value))
	encoded, err := json.Marshal(map[string]any{"value": value})
	if err != nil {
		t.Fatal(err)
	}
	var printed strings.Builder
	for _, entry := range logs.All() {
		line, err := zapcore.NewJSONEncoder(zap.NewProductionEncoderConfig()).EncodeEntry(entry.Entry, entry.Context)
		if err != nil {
			t.Fatal(err)
		}
		printed.WriteString(line.String())
	}
	fmt.Fprintf(&printed, "%s %v %#v %+v %q %s", encoded, value, value, value, value, struct{ V secret }{value})
	if strings.Contains(printed.String(), string(value)) {
		t.Errorf("it printed: %s", printed.String())
	}
}
