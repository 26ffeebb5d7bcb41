package settings

import (
	"errors"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap/zapcore"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/setting"
)

const (
	secretA = "whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="
	secretB = "whsec_BBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBA="
)

type env map[string]string

// with adds to the two variables that must be there.
func with(more env) env {
	all := env{"DATABASE_URL": "postgres://u:p@db:5432/flows", "REDIS_URL": "redis://cache:6379"}
	for k, v := range more {
		all[k] = v
	}
	return all
}

func (e env) source() setting.Source {
	return setting.Source{
		LookupEnv: func(name string) (string, bool) { v, ok := e[name]; return v, ok },
		ReadFile: func(path string) ([]byte, error) {
			if v, ok := e["file:"+path]; ok {
				return []byte(v), nil
			}
			return nil, os.ErrNotExist
		},
	}
}

func TestDefaults(t *testing.T) {
	s, err := ReadServe(with(nil).source())
	if err != nil {
		t.Fatal(err)
	}
	host, _ := os.Hostname()
	if s.Listen != "127.0.0.1:8080" || s.Name != host || s.LogLevel != zapcore.InfoLevel || s.Environment != "production" {
		t.Errorf("settings = %+v", s)
	}
	if c := s.Callback; c.URL != "" || c.Timeout != 15*time.Second || c.MaxAttempts != 10 || c.Secrets != nil || c.AllowNetworks != nil {
		t.Errorf("callback = %+v", c)
	}
	if s.Redis.Keys.Shards() != 16 || s.Redis.Keys.ShardCount() != "waf:shards" {
		t.Errorf("keys = %+v", s.Redis.Keys)
	}
}

func TestEverythingSet(t *testing.T) {
	s, err := ReadServe(with(env{
		"LISTEN_ADDR": ":9000", "HOST": "0.0.0.0", "PORT": "1", "WORKER_NAME": "w1", "LOG_LEVEL": "debug", "NODE_ENV": "development",
		"REDIS_PREFIX": "x:", "REDIS_SHARDS": "4", "CALLBACK_WEBHOOK_URL": "https://example.com/hook", "CALLBACK_TIMEOUT": "5000",
		"CALLBACK_MAX_RETRIES": "3", "CALLBACK_SECRET": secretA + ", " + secretB, "CALLBACK_ALLOW_CIDRS": "10.0.0.0/8, 127.0.0.1 ::1",
		"META_PHONE_NUMBER_ID": "100,shop=200", "META_WABA_ID": "shop=300", "API_TOKEN_FILE": "/run/secrets/api", "file:/run/secrets/api": "abc\n",
	}).source())
	if err != nil {
		t.Fatal(err)
	}
	if s.Listen != ":9000" || s.Name != "w1" || s.LogLevel != zapcore.DebugLevel || s.Environment != "development" ||
		len(s.API.Tokens) != 1 || s.API.Tokens[0].Secret != "abc" {
		t.Errorf("settings = %+v", s)
	}
	if c := s.Callback; c.URL != "https://example.com/hook" || c.Timeout != 5*time.Second || c.MaxAttempts != 4 ||
		!slices.Equal(c.Secrets, []string{secretA, secretB}) || len(c.AllowNetworks) != 3 {
		t.Errorf("callback = %+v", c)
	}
	if s.Redis.Keys.Shards() != 4 || s.Redis.Keys.ShardCount() != "x:shards" {
		t.Errorf("keys = %+v", s.Redis.Keys)
	}
	for _, c := range []struct{ phone, waba, want string }{
		{"100", "", "default"}, {"200", "", "shop"}, {"", "300", "shop"}, {"999", "300", "shop"}, {"999", "999", "verified"}, {"", "", "verified"}, {"100", "300", "default"},
	} {
		if got := s.Accounts.Of(c.phone, c.waba, "verified"); got != c.want {
			t.Errorf("account of %q, %q = %s, want %s", c.phone, c.waba, got, c.want)
		}
	}
}

func TestNamesOfTheSeed(t *testing.T) {
	s, err := ReadServe(env{
		"DB_HOST": "pg", "DB_NAME": "wf", "DB_USER": "me", "DB_PASSWORD_FILE": "/pw", "file:/pw": "p@ss/w:rd\n", "DB_POOL_MAX": "10",
		"REDIS_URL": "redis://cache", "HOST": "0.0.0.0", "PORT": "3000", "LOG_LEVEL": "silly", "ENVIRONMENT": "qa",
	}.source())
	if err != nil {
		t.Fatal(err)
	}
	if want := "postgres://me:p%40ss%2Fw%3Ard@pg:5432/wf"; s.Database.URL != want {
		t.Errorf("URL = %s, want %s", s.Database.URL, want)
	}
	if s.Listen != "0.0.0.0:3000" || s.LogLevel != zapcore.DebugLevel || s.Environment != "qa" {
		t.Errorf("settings = %+v", s)
	}
}

func TestEachMistakeIsOneSentenceThatNamesTheVariable(t *testing.T) {
	for _, c := range []struct {
		name string
		env  env
		want string
	}{
		{"no database", env{"REDIS_URL": "redis://c"}, "neither DATABASE_URL nor DB_HOST is set"},
		{"no Redis", env{"DATABASE_URL": "postgres://db/x"}, "neither REDIS_URL nor REDIS_URL_FILE is set"},
		{"a placeholder", with(env{"API_TOKEN": "your_api_token_here"}), "API_TOKEN still holds the placeholder"},
		{"a placeholder in a file", with(env{"CALLBACK_SECRET_FILE": "/s", "file:/s": "changeme"}), "CALLBACK_SECRET_FILE still holds the placeholder"},
		{"a file that is not there", with(env{"API_TOKEN_FILE": "/none"}), "API_TOKEN_FILE"},
		{"both ways at once", with(env{"API_TOKEN": "geheim", "API_TOKEN_FILE": "/x"}), "both API_TOKEN and API_TOKEN_FILE are set"},
		{"a database URL that is none", with(env{"DATABASE_URL": "mysql://u:geheim@h/d"}), "DATABASE_URL does not say where Postgres is"},
		{"a database port that is none", env{"DB_HOST": "h", "DB_PORT": "geheim", "REDIS_URL": "redis://c"}, "DB_HOST, DB_PORT"},
		{"a Redis URL of another kind", with(env{"REDIS_URL": "http://:geheim@h"}), "expected redis://"},
		{"Redis without a scheme", with(env{"REDIS_URL": "localhost:6379"}), "expected redis://"},
		{"Sentinel without a master", with(env{"REDIS_URL": "redis+sentinel://:geheim@h:1"}), "names no master"},
		{"a cluster with a database", with(env{"REDIS_URL": "redis+cluster://h:1/3"}), "takes no database number"},
		{"a prefix with a brace", with(env{"REDIS_PREFIX": "{a}"}), "REDIS_PREFIX holds a brace"},
		{"shards that are none", with(env{"REDIS_SHARDS": "0"}), "REDIS_SHARDS is \"0\""},
		{"an address without a port", with(env{"LISTEN_ADDR": "localhost"}), "LISTEN_ADDR is \"localhost\", expected host:port"},
		{"a port that is none", with(env{"PORT": "http"}), "PORT is \"http\""},
		{"an unknown level", with(env{"LOG_LEVEL": "loud"}), "LOG_LEVEL is \"loud\", expected debug, info, warn or error"},
		{"a callback that is no URL", with(env{"CALLBACK_WEBHOOK_URL": "geheim.example.com/hook"}), "CALLBACK_WEBHOOK_URL does not begin with https://"},
		{"a callback without a host", with(env{"CALLBACK_WEBHOOK_URL": "https:///geheim"}), "CALLBACK_WEBHOOK_URL names no host"},
		{"a timeout that is too long", with(env{"CALLBACK_TIMEOUT": "30000"}), "CALLBACK_TIMEOUT is \"30000\", expected a number of milliseconds from 1 to 20000"},
		{"a timeout with a unit", with(env{"CALLBACK_TIMEOUT": "15s"}), "CALLBACK_TIMEOUT is \"15s\""},
		{"fewer than no retries", with(env{"CALLBACK_MAX_RETRIES": "-1"}), "CALLBACK_MAX_RETRIES"},
		{"a secret without its prefix", with(env{"CALLBACK_SECRET": "geheimgeheimgeheimgeheim"}), "CALLBACK_SECRET: a callback secret begins with whsec_"},
		{"a network that is none", with(env{"CALLBACK_ALLOW_CIDRS": "10.0.0.0/99"}), "CALLBACK_ALLOW_CIDRS holds \"10.0.0.0/99\""},
		{"an id that is none", with(env{"META_PHONE_NUMBER_ID": "+55 11"}), "META_PHONE_NUMBER_ID holds \"+55\""},
		{"an id without an account", with(env{"META_WABA_ID": "=12"}), "META_WABA_ID holds"},
		{"an id of two accounts", with(env{"META_PHONE_NUMBER_ID": "a=1,b=1"}), "gives the id 1 to both a and b"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := ReadServe(c.env.source())
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Fatalf("err = %v, want %q", err, c.want)
			}
			if strings.Contains(err.Error(), "geheim") && !errors.Is(err, os.ErrNotExist) {
				t.Errorf("the error holds a secret: %v", err)
			}
			if strings.Contains(err.Error(), "\n") {
				t.Errorf("more than one line: %v", err)
			}
		})
	}
}
