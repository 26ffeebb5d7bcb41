package caddymodule

import (
	"bytes"
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	_ "github.com/caddyserver/caddy/v2/modules/standard"
	"github.com/redis/go-redis/v9"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/event"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/flow"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/flowcrypto"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/hubsignature"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/keyspace"
)

const (
	testSecret = "0f1e2d3c4b5a69788796a5b4c3d2e1f0"
	testVerify = "correct-horse"

	// What users type and carry, as the tests send it.
	privateAnswer = "Ada Lovelace"
	privateToken  = "tok-of-one-user"
)

// testPrefix begins every Redis key of this run.
var testPrefix = fmt.Sprintf("test-edge-%d:", os.Getpid())

// forget deletes the keys under a prefix.
func forget(client *redis.Client, prefix string) {
	ctx := context.Background()
	iter := client.Scan(ctx, 0, prefix+"*", 1000).Iterator()
	for iter.Next(ctx) {
		client.Del(ctx, iter.Val())
	}
}

// site is one Caddy in this process, listening on a Unix socket, with a Redis
// prefix of its own.
type site struct {
	t      testing.TB
	socket string
	log    string
	prefix string
	shards int
	redis  *redis.Client
	keys   keyspace.Keys
	http   *http.Client
	public *rsa.PublicKey
}

func redisURL(t testing.TB) string {
	t.Helper()
	url := os.Getenv("REDIS_URL")
	if url == "" {
		t.Fatal("REDIS_URL is not set: run the tests with `make test`, or point it at a Redis you can spare")
	}
	return url
}

// newSite prepares a site; load starts it. The environment of the test is that
// of a plain deployment, with secrets from variables.
func newSite(t testing.TB) *site {
	t.Helper()
	options, err := redis.ParseURL(redisURL(t))
	if err != nil {
		t.Fatal(err)
	}
	var id [6]byte
	_, _ = rand.Read(id[:])
	pem, err := os.ReadFile("testdata/flow.pem")
	if err != nil {
		t.Fatal(err)
	}
	key, err := flowcrypto.ReadPrivateKey(pem, nil)
	if err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp("", "waf") // t.TempDir is too long for a socket
	if err != nil {
		t.Fatal(err)
	}
	s := &site{
		t: t, socket: filepath.Join(dir, "c.sock"), log: filepath.Join(dir, "caddy.log"), prefix: testPrefix + hex.EncodeToString(id[:]) + ":",
		shards: 4, redis: redis.NewClient(options), public: &key.PublicKey,
	}
	s.keys = keyspace.New(s.prefix, s.shards)
	// A connection per request: a reload closes idle ones, and no client may
	// repeat a POST by itself.
	s.http = &http.Client{Transport: &http.Transport{DisableKeepAlives: true, ExpectContinueTimeout: 5 * time.Second, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", s.socket)
	}}}
	t.Setenv("REDIS_PREFIX", s.prefix)
	t.Setenv("REDIS_SHARDS", "4")
	t.Setenv("META_APP_SECRET", testSecret)
	t.Setenv("META_VERIFY_TOKEN", testVerify)
	t.Setenv("PRIVATE_KEY_FILE", "testdata/flow.pem")
	t.Cleanup(func() {
		s.http.CloseIdleConnections()
		_ = caddy.Stop()
		forget(s.redis, s.prefix)
		_ = s.redis.Close()
		checkLog(t, s.log)
		_ = os.RemoveAll(dir)
	})
	return s
}

// checkLog holds for every test: nothing a log must not have is in it, at any
// level.
func checkLog(t testing.TB, path string) {
	t.Helper()
	log, err := os.ReadFile(path)
	if err != nil {
		return // never started
	}
	for _, private := range []string{testSecret, testVerify, privateAnswer, privateToken, "BEGIN PRIVATE KEY"} {
		if strings.Contains(string(log), private) {
			t.Errorf("the log holds %q", private)
		}
	}
	if t.Failed() {
		t.Logf("the log:\n%s", log)
	}
}

// adapt turns the global block and the site's body into Caddy's JSON.
func (s *site) adapt(global, body string) []byte {
	s.t.Helper()
	text := "{\n\tadmin off\n\tpersist_config off\n\tauto_https off\n\tgrace_period 5s\n\tlog {\n\t\toutput file " + s.log + " {\n\t\t\troll_disabled\n\t\t}\n\t\tlevel DEBUG\n\t}\n" + global + "\n}\n" +
		"http://localhost {\n\tlog\n\tbind unix/" + s.socket + "\n" + body + "\n}\n"
	adapted, warnings, err := caddyconfig.GetAdapter("caddyfile").Adapt([]byte(text), map[string]any{"filename": "Caddyfile"})
	if err != nil {
		s.t.Fatalf("adapting: %v\n%s", err, text)
	}
	for _, w := range warnings {
		if !strings.Contains(w.Message, "not formatted") {
			s.t.Logf("adapter warning: %v", w)
		}
	}
	return adapted
}

// load starts the site, or reloads it.
func (s *site) load(global, body string) *site {
	s.t.Helper()
	if err := caddy.Load(s.adapt(global, body), true); err != nil {
		s.t.Fatalf("loading: %v", err)
	}
	return s
}

// answer is what WhatsApp's proxy sees.
type answer struct {
	status int
	header http.Header
	body   []byte
}

func (s *site) do(method, path string, header map[string]string, body []byte) answer {
	s.t.Helper()
	a, err := s.try(method, path, header, body)
	if err != nil {
		s.t.Fatalf("%s %s: %v", method, path, err)
	}
	return a
}

// try makes a request. At the hand-over of its listener Caddy itself drops about
// one new connection per reload before any handler runs (a bare `respond` does
// too), so a connection that ends without an answer is made again.
func (s *site) try(method, path string, header map[string]string, body []byte) (a answer, err error) {
	for range 4 {
		if a, err = s.once(method, path, header, body); err == nil {
			break
		}
	}
	return a, err
}

func (s *site) once(method, path string, header map[string]string, body []byte) (answer, error) {
	request, err := http.NewRequest(method, "http://localhost"+path, bytes.NewReader(body))
	if err != nil {
		return answer{}, err
	}
	for name, value := range header {
		request.Header.Set(name, value)
	}
	response, err := s.http.Do(request)
	if err != nil {
		return answer{}, err
	}
	defer response.Body.Close()
	read, err := io.ReadAll(response.Body)
	return answer{status: response.StatusCode, header: response.Header, body: read}, err
}

// sealed is one envelope with what is needed to open its answer.
type sealed struct {
	body []byte
	aead cipher.AEAD
	iv   []byte
	hash string
}

// seal encrypts a request as a phone does.
func seal(t testing.TB, public *rsa.PublicKey, payload any) sealed {
	t.Helper()
	plaintext, ok := payload.([]byte)
	if !ok {
		var err error
		if plaintext, err = json.Marshal(payload); err != nil {
			t.Fatal(err)
		}
	}
	random := make([]byte, 32)
	_, _ = rand.Read(random)
	key, iv := random[:16], random[16:]
	block, err := aes.NewCipher(key)
	if err != nil {
		t.Fatal(err)
	}
	aead, err := cipher.NewGCMWithNonceSize(block, 16)
	if err != nil {
		t.Fatal(err)
	}
	wrapped, err := rsa.EncryptOAEP(sha256.New(), rand.Reader, public, key, nil)
	if err != nil {
		t.Fatal(err)
	}
	data := aead.Seal(nil, iv, plaintext, nil)
	body, err := json.Marshal(map[string][]byte{"encrypted_aes_key": wrapped, "initial_vector": iv, "encrypted_flow_data": data})
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(bytes.Join([][]byte{wrapped, iv, data}, nil))
	inverted := make([]byte, 16)
	for i, b := range iv {
		inverted[i] = ^b
	}
	return sealed{body: body, aead: aead, iv: inverted, hash: hex.EncodeToString(sum[:])}
}

// open decrypts an answer.
func (e sealed) open(t testing.TB, a answer) map[string]any {
	t.Helper()
	raw, err := base64.StdEncoding.DecodeString(string(a.body))
	if err != nil {
		t.Fatalf("status %d: the answer is no base64: %v", a.status, err)
	}
	plaintext, err := e.aead.Open(nil, e.iv, raw, nil)
	if err != nil {
		t.Fatalf("status %d: the answer cannot be decrypted: %v", a.status, err)
	}
	var reply map[string]any
	if err := json.Unmarshal(plaintext, &reply); err != nil {
		t.Fatalf("the answer is no JSON object: %v", err)
	}
	return reply
}

func signed(body []byte) map[string]string {
	return map[string]string{"X-Hub-Signature-256": hubsignature.Sign([]byte(testSecret), body), "Content-Type": "application/json"}
}

// request is a plaintext request.
type request map[string]any

func step(action, screen, token string, data request) request {
	r := request{"version": "3.0", "action": action, "screen": screen, "flow_token": token}
	if data != nil {
		r["data"] = data
	}
	return r
}

// post seals and sends a request to a path and opens the answer if it is sealed.
func (s *site) post(path string, payload any) (answer, map[string]any) {
	s.t.Helper()
	e := seal(s.t, s.public, payload)
	a := s.do(http.MethodPost, path, signed(e.body), e.body)
	if len(a.body) == 0 {
		return a, nil
	}
	return a, e.open(s.t, a)
}

// want posts and expects status 200 and a screen.
func (s *site) want(path string, payload any, screen string) map[string]any {
	s.t.Helper()
	a, reply := s.post(path, payload)
	if a.status != http.StatusOK || reply["screen"] != screen {
		s.t.Fatalf("status %d, reply %v, expected screen %s", a.status, reply, screen)
	}
	data, _ := reply["data"].(map[string]any)
	return data
}

// events are all entries on the streams except marks.
func (s *site) events() []event.Entry {
	s.t.Helper()
	var all []event.Entry
	for shard := range s.shards {
		for _, stream := range []string{s.keys.Events(shard), s.keys.LargeEvents(shard)} {
			entries, err := s.redis.XRange(context.Background(), stream, "-", "+").Result()
			if err != nil {
				s.t.Fatal(err)
			}
			for _, entry := range entries {
				e, err := event.Decode(entry.Values)
				if err != nil {
					s.t.Fatal(err)
				}
				if e.Kind != event.KindMark {
					all = append(all, e)
				}
			}
		}
	}
	return all
}

// publish puts a definition into Redis as the worker does.
func (s *site) publish(account, name string, flowJSON []byte) *flow.Definition {
	s.t.Helper()
	return s.publishLogic(account, name, flowJSON, nil)
}

func (s *site) publishLogic(account, name string, flowJSON, logic []byte) *flow.Definition {
	s.t.Helper()
	def, err := flow.Load(flowJSON, logic)
	if err != nil {
		s.t.Fatal(err)
	}
	s.publishDocument(account, name, def.Document())
	return def
}

// publishDocument publishes what may not even be a definition.
func (s *site) publishDocument(account, name string, document []byte) {
	s.t.Helper()
	ctx := context.Background()
	field := keyspace.IndexField(account, name)
	sum := sha256.Sum256(document)
	hash := hex.EncodeToString(sum[:])
	if err := errorsOf(
		s.redis.Set(ctx, s.keys.Definition(hash), document, 0).Err(),
		s.redis.HSet(ctx, s.keys.Index(), field, hash).Err(),
		s.redis.Publish(ctx, s.keys.Changed(), field).Err(),
	); err != nil {
		s.t.Fatal(err)
	}
}

func errorsOf(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// eventually polls until ok.
func eventually(t testing.TB, within time.Duration, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(within)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatalf("not within %s: %s", within, what)
		}
		<-tick.C
	}
}

func bookingJSON(t testing.TB) []byte {
	t.Helper()
	raw, err := os.ReadFile("testdata/flows/booking/flow.json")
	if err != nil {
		t.Fatal(err)
	}
	return raw
}
