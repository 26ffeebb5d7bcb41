package main

import (
	"bytes"
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/harness/site"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/flow"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/hubsignature"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/phone"
)

const flowName = "csat-feedback"

// latencies are the times of single requests, as the client saw them.
type latencies []time.Duration

func (l latencies) quantile(q float64) time.Duration {
	if len(l) == 0 {
		return 0
	}
	slices.Sort(l)
	return l[min(int(q*float64(len(l))), len(l)-1)]
}

// call is one request made ahead of its measurement, and how to judge its answer.
type call struct {
	path      string
	body      []byte
	signature string
	judge     func(status int, body []byte) error
}

// edge measures the edge, a row for each line of the plan.
func edge(ctx context.Context, s *site.Site, examples string, requests int) ([]row, error) {
	if out, err := s.WorkerCommand("migrate", "up").CombinedOutput(); err != nil {
		return nil, fmt.Errorf("worker migrate up: %w: %s", err, out)
	}
	if _, err := s.LoadFlows(ctx, examples); err != nil {
		return nil, err
	}
	if err := s.StartEdge(ctx); err != nil {
		return nil, err
	}
	within := func(r row) bool { return float64(r.cpu) <= 1.4*float64(r.b) }
	plan := []struct {
		name        string
		connections int
		prepare     func(*site.Site, int) ([]call, error)
		requests    int
		bar         string
		met         func(row) bool
	}{
		{name: "warm-up", connections: 4, prepare: pings, requests: 300},
		{name: "ping", connections: 1, prepare: pings, requests: requests},
		{name: "ping", connections: 4, prepare: pings, requests: requests},
		{name: "INIT", connections: 4, prepare: inits, requests: requests},
		{name: "data_exchange", connections: 1, prepare: exchanges, requests: requests, bar: "≤ 1.4 B", met: within},
		{name: "data_exchange", connections: 4, prepare: exchanges, requests: requests, bar: "≤ 1.4 B", met: within},
		{name: "data_exchange", connections: 8, prepare: exchanges, requests: requests, bar: "≤ 1.4 B", met: within},
		{name: "data_exchange", connections: 32, prepare: exchanges, requests: requests, bar: "≤ 1.4 B", met: within},
		{name: "bad signature", connections: 4, prepare: forgeries, requests: 10 * requests,
			bar: "≤ 60 µs", met: func(r row) bool { return r.cpu <= 60*time.Microsecond }},
		{name: "webhook", connections: 1, prepare: webhooks, requests: 2 * requests},
		{name: "webhook", connections: 32, prepare: webhooks, requests: 10 * requests},
	}
	var rows []row
	for _, p := range plan {
		calls, err := p.prepare(s, p.requests)
		if err != nil {
			return nil, fmt.Errorf("preparing %s: %w", p.name, err)
		}
		before, err := decryption(s.Secrets.PrivateKey)
		if err != nil {
			return nil, err
		}
		finish := profile(ctx, s, p.name)
		r, err := measure(ctx, s, calls, p.connections)
		if err = errors.Join(err, finish()); err != nil {
			return nil, fmt.Errorf("%s: %w", p.name, err)
		}
		after, err := decryption(s.Secrets.PrivateKey)
		if err != nil {
			return nil, err
		}
		r.name, r.b, r.bar = p.name, (before+after)/2, p.bar
		r.met = p.met != nil && p.met(r)
		rows = append(rows, r)
	}
	return rows[1:], nil
}

// decryption is the CPU time of one RSA-2048 OAEP decryption by the key backend
// that the edge uses.
func decryption(key crypto.Decrypter) (time.Duration, error) {
	ciphertext, err := rsa.EncryptOAEP(sha256.New(), rand.Reader, key.Public().(*rsa.PublicKey), make([]byte, 16), nil)
	if err != nil {
		return 0, err
	}
	options := &rsa.OAEPOptions{Hash: crypto.SHA256, MGFHash: crypto.SHA256}
	const times = 300
	start := ownCPU()
	for range times {
		if _, err := key.Decrypt(rand.Reader, ciphertext, options); err != nil {
			return 0, err
		}
	}
	return (ownCPU() - start) / times, nil
}

// measure sends all calls over so many connections and accounts for the CPU
// that the edge and Redis used meanwhile.
func measure(ctx context.Context, s *site.Site, calls []call, connections int) (row, error) {
	transport := &http.Transport{MaxIdleConnsPerHost: connections, MaxConnsPerHost: connections}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport, Timeout: 15 * time.Second}

	pid := s.Edge.PID()
	cpuBefore, err := processCPU(pid)
	if err != nil {
		return row{}, err
	}
	redisBefore, err := redisCPU(ctx, s.RedisURL)
	if err != nil {
		return row{}, err
	}
	times := make(latencies, len(calls))
	var next atomic.Int64
	var wg sync.WaitGroup
	errs := make(chan error, connections)
	start := time.Now()
	for range connections {
		wg.Go(func() {
			for {
				i := int(next.Add(1)) - 1
				if i >= len(calls) {
					return
				}
				sent := time.Now()
				if err := send(ctx, client, s.EdgeURL, calls[i]); err != nil {
					errs <- fmt.Errorf("request %d: %w", i, err)
					return
				}
				times[i] = time.Since(sent)
			}
		})
	}
	wg.Wait()
	took := time.Since(start)
	select {
	case err := <-errs:
		return row{}, err
	default:
	}
	cpu, err := processCPU(pid)
	if err != nil {
		return row{}, err
	}
	redisAfter, err := redisCPU(ctx, s.RedisURL)
	if err != nil {
		return row{}, err
	}
	rss, err := residentMemory(pid)
	each := time.Duration(len(calls))
	return row{
		connections: connections, requests: len(calls), took: took, times: times, rss: rss,
		cpu: (cpu - cpuBefore) / each, redis: (redisAfter - redisBefore) / each,
	}, err
}

func send(ctx context.Context, client *http.Client, url string, c call) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, url+c.path, bytes.NewReader(c.body))
	if err != nil {
		return err
	}
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("X-Hub-Signature-256", c.signature)
	response, err := client.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return err
	}
	return c.judge(response.StatusCode, body)
}

// redisCPU is the CPU time Redis has used, by its own account.
func redisCPU(ctx context.Context, url string) (time.Duration, error) {
	options, err := redis.ParseURL(url)
	if err != nil {
		return 0, err
	}
	client := redis.NewClient(options)
	defer client.Close()
	info, err := client.Info(ctx, "cpu").Result()
	if err != nil {
		return 0, err
	}
	var total time.Duration
	for line := range strings.SplitSeq(info, "\r\n") {
		name, value, _ := strings.Cut(line, ":")
		if name == "used_cpu_sys" || name == "used_cpu_user" {
			seconds, err := strconv.ParseFloat(value, 64)
			if err != nil {
				return 0, err
			}
			total += time.Duration(seconds * float64(time.Second))
		}
	}
	return total, nil
}

func pings(s *site.Site, n int) ([]call, error) {
	return prepare(n, func(int) (call, error) {
		return flowCall(s, []byte(`{"version":"3.0","action":"ping"}`), `{"data":{"status":"active"}}`)
	})
}

func inits(s *site.Site, n int) ([]call, error) {
	return prepare(n, func(int) (call, error) { return step(s, rand.Text(), flow.Init, "", nil, `"screen":"RATING"`) })
}

// exchanges are second steps: every session exists before they are measured.
func exchanges(s *site.Site, n int) ([]call, error) {
	tokens := make([]string, n)
	openings, err := prepare(n, func(i int) (call, error) {
		tokens[i] = rand.Text()
		return step(s, tokens[i], flow.Init, "", nil, `"screen":"RATING"`)
	})
	if err != nil {
		return nil, err
	}
	if _, err := measure(context.Background(), s, openings, 4); err != nil {
		return nil, err
	}
	return prepare(n, func(i int) (call, error) {
		return step(s, tokens[i], flow.DataExchange, "RATING", map[string]any{"score": "5"}, `"screen":"COMMENT"`)
	})
}

// forgeries are well-formed requests under a wrong signature.
func forgeries(s *site.Site, n int) ([]call, error) {
	genuine, err := flowCall(s, []byte(`{"version":"3.0","action":"ping"}`), "")
	if err != nil {
		return nil, err
	}
	genuine.signature = hubsignature.Sign([]byte("not the app secret"), genuine.body)
	genuine.judge = expectStatus(432)
	return slices.Repeat([]call{genuine}, n), nil
}

func webhooks(s *site.Site, n int) ([]call, error) {
	return prepare(n, func(i int) (call, error) {
		body := finishedForm(i)
		return call{
			path: "/webhooks/whatsapp", body: body,
			signature: hubsignature.Sign([]byte(s.Secrets.AppSecret), body), judge: expectStatus(http.StatusOK),
		}, nil
	})
}

func prepare(n int, one func(i int) (call, error)) ([]call, error) {
	calls := make([]call, n)
	for i := range calls {
		var err error
		if calls[i], err = one(i); err != nil {
			return nil, err
		}
	}
	return calls, nil
}

func expectStatus(want int) func(int, []byte) error {
	return func(status int, _ []byte) error {
		if status != want {
			return fmt.Errorf("status %d, expected %d", status, want)
		}
		return nil
	}
}

// step is one action of the user with this token.
func step(s *site.Site, token string, action flow.Action, screen string, data map[string]any, want string) (call, error) {
	payload, err := json.Marshal(map[string]any{"version": "4.0", "action": action, "screen": screen, "data": data, "flow_token": token})
	if err != nil {
		return call{}, err
	}
	return flowCall(s, payload, want)
}

// flowCall seals payload under a key of its own. The answer must open and hold
// want.
func flowCall(s *site.Site, payload []byte, want string) (call, error) {
	sender := phone.Phone{PublicKey: &s.Secrets.PrivateKey.PublicKey}
	envelope, err := sender.Seal(payload)
	if err != nil {
		return call{}, err
	}
	return call{
		path: "/flows/endpoint/" + flowName, body: envelope.Body,
		signature: hubsignature.Sign([]byte(s.Secrets.AppSecret), envelope.Body),
		judge: func(status int, body []byte) error {
			if status != http.StatusOK {
				return fmt.Errorf("status %d, expected 200", status)
			}
			plaintext, err := envelope.Open(body)
			if err != nil {
				return err
			}
			if !bytes.Contains(plaintext, []byte(want)) {
				return errors.New("the answer is not the expected one")
			}
			return nil
		},
	}, nil
}

// finishedForm is a webhook with one finished form of a user of its own.
func finishedForm(i int) []byte {
	id := rand.Text()
	return fmt.Appendf(nil, `{"object":"whatsapp_business_account","entry":[{"id":"1029384756","changes":[{"field":"messages","value":{`+
		`"messaging_product":"whatsapp","metadata":{"display_phone_number":"15550783881","phone_number_id":"106540352242922"},`+
		`"contacts":[{"profile":{"name":"User %d"},"wa_id":"1650%08d","user_id":"US.%s"}],`+
		`"messages":[{"from":"1650%08d","id":"wamid.%s","timestamp":"%d","type":"interactive",`+
		`"context":{"from":"15550783881","id":"wamid.context.%s"},`+
		`"interactive":{"type":"nfm_reply","nfm_reply":{"name":"flow","body":"Sent",`+
		`"response_json":"{\"flow_token\":\"%s\",\"score\":\"5\",\"comment\":\"all fine\"}"}}}]}}]}]}`,
		i, i, id, i, id, time.Now().Unix(), id, id)
}
