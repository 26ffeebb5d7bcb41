package main

import (
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/event"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/worker/internal/testkit"
)

// serving is a `worker serve` inside the test.
type serving struct {
	*command
	url  string
	stop func() int // as SIGTERM does; returns the exit code
}

func serve(t *testing.T, env map[string]string) *serving {
	t.Helper()
	port, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	env["LISTEN_ADDR"] = port.Addr().String()
	port.Close() //nolint:errcheck // its port is to be free
	ctx, cancel := context.WithCancel(context.Background())
	s := &serving{command: newCommand(ctx, env), url: "http://" + env["LISTEN_ADDR"]}
	code := make(chan int, 1)
	go func() { code <- run(s.process, []string{"serve"}) }()
	s.stop = sync.OnceValue(func() int {
		cancel()
		select {
		case c := <-code:
			return c
		case <-time.After(25 * time.Second):
			t.Error("not stopped within 25 s")
			return -1
		}
	})
	t.Cleanup(func() { s.stop() })
	return s
}

// get is the status and the JSON of a path; 0 while nothing answers.
func (s *serving) get(path string) (int, map[string]any) {
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 10 * time.Second}
	resp, err := client.Get(s.url + path)
	if err != nil {
		return 0, nil
	}
	defer resp.Body.Close() //nolint:errcheck // read to its end
	var body map[string]any
	_ = json.NewDecoder(resp.Body).Decode(&body)
	return resp.StatusCode, body
}

func (s *serving) waitReady(t *testing.T) {
	t.Helper()
	testkit.Eventually(t, "the worker is ready", func() bool { code, _ := s.get("/readyz"); return code == 200 })
}

const nfmReply = `{"object":"whatsapp_business_account","entry":[{"id":"300","changes":[{"field":"messages","value":{
	"messaging_product":"whatsapp","metadata":{"display_phone_number":"5511","phone_number_id":"100"},
	"contacts":[{"profile":{"name":"Ana"},"wa_id":"5511999999999"}],
	"messages":[{"from":"5511999999999","id":"wamid.ONE","timestamp":"1790000000","type":"interactive","interactive":{"type":"nfm_reply",
		"nfm_reply":{"name":"flow","body":"Sent","response_json":"{\"flow_token\":\"unused\",\"score\":\"9\"}"}}}]}}]}]}`

func TestFromTheStreamToTheReceiver(t *testing.T) {
	client, keys, prefix := testkit.Redis(t, 4)
	type callback struct {
		header http.Header
		body   []byte
	}
	callbacks := make(chan callback, 10)
	receiver := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		callbacks <- callback{r.Header, body}
	}))
	defer receiver.Close()
	env := map[string]string{
		"DATABASE_URL": testkit.EmptyDatabaseURL(t), "REDIS_URL": testkit.RedisURL(t), "REDIS_PREFIX": prefix, "REDIS_SHARDS": "4",
		"CALLBACK_WEBHOOK_URL": receiver.URL + "/hook", "CALLBACK_ALLOW_CIDRS": "127.0.0.0/8", "WORKER_NAME": "w", "NODE_ENV": "test",
	}
	s := serve(t, env)
	s.waitReady(t)
	if code, body := s.get("/health"); code != 200 || body["status"] != "healthy" || body["environment"] != "test" {
		t.Errorf("health %d %v", code, body)
	}
	// WhatsApp delivers duplicates.
	for seq := range uint64(2) {
		e := event.Entry{Kind: event.KindWebhook, Account: "default", ID: "one", Time: time.Now(), Source: "edge", Seq: seq + 1, Body: []byte(nfmReply)}
		if err := client.XAdd(t.Context(), &redis.XAddArgs{Stream: keys.Events(1), Values: e.Values()}).Err(); err != nil {
			t.Fatal(err)
		}
	}
	var got callback
	select {
	case got = <-callbacks:
	case <-time.After(15 * time.Second):
		t.Fatalf("no callback; the log says\n%s", s.stderr.String())
	}
	var body map[string]any
	if err := json.Unmarshal(got.body, &body); err != nil || body["phone_number"] != "5511999999999" || body["event_type"] != "flow_completed" {
		t.Errorf("body = %s", got.body)
	}
	verifier, err := standardwebhooks.NewWebhook(strings.TrimSpace(must(t, env, "callbacks", "secret")))
	if err == nil {
		err = verifier.Verify(got.body, got.header)
	}
	if err != nil {
		t.Error(err)
	}
	if code := s.stop(); code != 0 {
		t.Errorf("exit code %d", code)
	}
	select {
	case <-callbacks:
		t.Error("a second callback for one answer")
	default:
	}
	if log := s.stderr.String(); strings.Contains(log, "5511999999999") || strings.Contains(log, "whsec_") || strings.Contains(log, `"score"`) {
		t.Errorf("the log holds an answer or a secret:\n%s", log)
	}
}

func TestServeStartsWithoutRedisAndRecovers(t *testing.T) {
	_, _, prefix := testkit.Redis(t, 2)
	o, err := redis.ParseURL(testkit.RedisURL(t))
	if err != nil {
		t.Fatal("REDIS_URL is not a Redis URL")
	}
	later := testkit.NewProxy(t, o.Addr)
	s := serve(t, map[string]string{
		"DATABASE_URL": testkit.EmptyDatabaseURL(t), "REDIS_URL": "redis://" + later.Address, "REDIS_PREFIX": prefix, "REDIS_SHARDS": "2",
	})
	testkit.Eventually(t, "the worker serves without Redis", func() bool {
		code, body := s.get("/health")
		return code == 503 && body["database"] == "connected" && body["redis"] == "disconnected"
	})
	if code, _ := s.get("/readyz"); code != 503 {
		t.Errorf("/readyz = %d", code)
	}
	if code, _ := s.get("/livez"); code != 200 {
		t.Errorf("/livez = %d", code)
	}
	later.Open()
	s.waitReady(t)
	if code := s.stop(); code != 0 {
		t.Errorf("exit code %d: %s", code, s.stderr.String())
	}
}

// Another worker is creating the partitions, or somebody's long query is in the
// way: rows go to the default partition meanwhile.
func TestServeStartsWhilePartitionsCannotBeCreated(t *testing.T) {
	_, _, prefix := testkit.Redis(t, 2)
	env := map[string]string{"DATABASE_URL": testkit.EmptyDatabaseURL(t), "REDIS_URL": testkit.RedisURL(t), "REDIS_PREFIX": prefix, "REDIS_SHARDS": "2"}
	must(t, env, "migrate", "up")
	pool := testkit.Pool(t, env["DATABASE_URL"])
	tx, err := pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback(context.Background()) //nolint:errcheck // the lock is what counts
	if _, err := tx.Exec(t.Context(), "LOCK TABLE attempts_default IN ACCESS SHARE MODE"); err != nil {
		t.Fatal(err)
	}
	s := serve(t, env)
	s.waitReady(t)
	if code := s.stop(); code != 0 {
		t.Errorf("exit code %d: %s", code, s.stderr.String())
	}
}

func TestServeRefusesWhatItCannotHeal(t *testing.T) {
	client, keys, prefix := testkit.Redis(t, 16)
	if err := client.Set(t.Context(), keys.ShardCount(), "8", 0).Err(); err != nil {
		t.Fatal(err)
	}
	database := testkit.EmptyDatabaseURL(t)
	elsewhere, err := url.Parse(database)
	if err != nil {
		t.Fatal(err)
	}
	elsewhere.Path = "/waf_there_is_no_such_database"
	taken := httptest.NewServer(http.NotFoundHandler())
	defer taken.Close()
	base := map[string]string{"DATABASE_URL": database, "REDIS_URL": testkit.RedisURL(t), "REDIS_PREFIX": prefix, "LISTEN_ADDR": "127.0.0.1:0"}
	for _, c := range []struct {
		name, variable, value, want string
	}{
		{"another number of shards", "REDIS_SHARDS", "16", "set REDIS_SHARDS=8"},
		{"a database that does not exist", "DATABASE_URL", elsewhere.String(), "create it: createdb waf_there_is_no_such_database"},
		{"an address in use", "LISTEN_ADDR", strings.TrimPrefix(taken.URL, "http://"), "address already in use: set LISTEN_ADDR"},
	} {
		t.Run(c.name, func(t *testing.T) {
			env := map[string]string{c.variable: c.value}
			for k, v := range base {
				if _, ok := env[k]; !ok {
					env[k] = v
				}
			}
			code, _, stderr := execute(t, env, "serve")
			lines := strings.Split(strings.TrimSpace(stderr), "\n")
			if last := lines[len(lines)-1]; code != 1 || !strings.HasPrefix(last, "worker: ") || !strings.Contains(last, c.want) {
				t.Errorf("exit code %d, %s", code, stderr)
			}
		})
	}
}

func TestServeWaitsForPostgresUntilTold(t *testing.T) {
	s := serve(t, map[string]string{"DATABASE_URL": "postgres://u:geheim@127.0.0.1:1/x", "REDIS_URL": testkit.RedisURL(t)})
	testkit.Eventually(t, "it says that Postgres is away", func() bool { return strings.Contains(s.stderr.String(), "Postgres does not answer") })
	if code, _ := s.get("/livez"); code != 200 {
		t.Errorf("/livez = %d", code)
	}
	if code, body := s.get("/health"); code != 503 || body["database"] != "disconnected" {
		t.Errorf("/health = %d %v", code, body)
	}
	if code := s.stop(); code != 0 {
		t.Errorf("exit code %d", code)
	}
	if strings.Contains(s.stderr.String(), "geheim") {
		t.Error("the log holds the password")
	}
}
