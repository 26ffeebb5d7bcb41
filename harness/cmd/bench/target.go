package main

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/redis/go-redis/v9"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/harness/load"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/harness/servers"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/harness/site"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/phone"
)

const flowName = "csat-feedback"

// target is one edge under test, and what it is sent.
type target struct {
	*site.Site
	redis *redis.Client

	flows   []string         // requests go to each in turn
	keys    []*rsa.PublicKey // requests are sealed for each in turn
	padding int              // characters of another answer in each data_exchange
	shards  int              // 0 for the default

	begun int // sessions that are there before the measured ones; see begin
	used  int // how many of them were taken further
}

// build is where the programs under test and what they read are.
type build struct {
	root   string // a checkout of the repository
	bin    string // caddy and worker
	commit string
}

// newTarget prepares an installation whose flows are published; its edge does
// not run yet. flows is a directory, empty for the examples of the checkout.
func newTarget(ctx context.Context, b build, stack *servers.Stack, cores cores, flows string, change func(*site.Options)) (t *target, err error) {
	o := site.Options{Root: b.root, Bin: b.bin, Servers: stack, EdgeCPUs: cores.edge}
	if change != nil {
		change(&o)
	}
	s, err := site.New(ctx, o)
	if err != nil {
		return nil, err
	}
	t = &target{Site: s, flows: []string{flowName}, keys: []*rsa.PublicKey{&s.Secrets.PrivateKey.PublicKey}}
	defer func() {
		if err != nil {
			t.close()
		}
	}()
	options, err := redis.ParseURL(s.RedisURL)
	if err != nil {
		return nil, err
	}
	t.redis = redis.NewClient(options)
	if out, err := s.WorkerCommand("migrate", "up").CombinedOutput(); err != nil {
		return nil, fmt.Errorf("worker migrate up: %w: %s", err, out)
	}
	if flows == "" {
		flows = filepath.Join(b.root, "examples")
	}
	if _, err := s.LoadFlows(ctx, flows); err != nil {
		return nil, err
	}
	return t, nil
}

func (t *target) close() error {
	if t.redis != nil {
		_ = t.redis.Close()
	}
	return t.Close()
}

func (t *target) address() string { return strings.TrimPrefix(t.EdgeURL, "http://") }

func (t *target) secret() []byte { return []byte(t.Secrets.AppSecret) }

func (t *target) flowPath(i int) string { return flowPath + t.flows[i%len(t.flows)] }

// sender is the phone of a user, who has the form open that was sent with this
// token.
func (t *target) sender(token string) *phone.Phone {
	return &phone.Phone{PublicKey: t.keys[0], AppSecret: t.secret(), Token: token, Version: "4.0"}
}

// answerAll sends calls whose answers must all be good.
func (t *target) answerAll(ctx context.Context, calls []load.Call, connections int) error {
	result, err := load.Closed(ctx, t.address(), calls, connections)
	if err != nil {
		return err
	}
	return result.Err()
}

var backendInfo = regexp.MustCompile(`(?m)^caddy_whatsapp_flows_private_key_backend_info\{(.*)\} 1$`)

// backend is the private operation that the running edge uses, by its own
// metric. Edges without that metric have crypto/rsa only.
func (t *target) backend(ctx context.Context) (name, version string, err error) {
	metrics, err := t.Metrics(ctx)
	if err != nil {
		return "", "", err
	}
	name = "crypto/rsa"
	if found := backendInfo.FindStringSubmatch(metrics); found != nil {
		for label := range strings.SplitSeq(found[1], ",") {
			key, value, _ := strings.Cut(label, "=")
			switch value = strings.Trim(value, `"`); key {
			case "backend":
				name = value
			case "version":
				version = value
			}
		}
	}
	return name, version, nil
}

// describe is what the running edge says of itself.
func (t *target) describe(ctx context.Context, b build) (Edge, error) {
	name, version, err := t.backend(ctx)
	return Edge{Commit: b.commit, Backend: name, Version: version}, err
}

// fourKeys writes the repository's Caddyfile with three more private keys to a
// file, beside which these are, and returns the public halves of all four. The
// last is the site's own.
func fourKeys(root, caddyfile string, own site.Secrets) (keys []*rsa.PublicKey, err error) {
	shipped, err := os.ReadFile(filepath.Join(root, "Caddyfile"))
	if err != nil {
		return nil, err
	}
	var options strings.Builder
	for i := range 3 {
		name := filepath.Join(filepath.Dir(caddyfile), fmt.Sprintf("key-%d", i))
		more, err := site.WriteSecrets(name)
		if err != nil {
			return nil, err
		}
		keys = append(keys, &more.PrivateKey.PublicKey)
		fmt.Fprintf(&options, "\t\t\tprivate_key {file.%[1]s/flow.pem} {file.%[1]s/flow.pass}\n", name)
	}
	fmt.Fprintf(&options, "\t\t\tprivate_key {file.%[1]s/flow.pem} {file.%[1]s/flow.pass}\n", own.Dir)
	changed := strings.Replace(string(shipped), "account default\n", "account default {\n"+options.String()+"\t\t}\n", 1)
	if changed == string(shipped) {
		return nil, fmt.Errorf("%s has no line %q to add private keys to", filepath.Join(root, "Caddyfile"), "account default")
	}
	return append(keys, &own.PrivateKey.PublicKey), os.WriteFile(caddyfile, []byte(changed), 0o600)
}

func randomText(n int) string {
	raw := make([]byte, n/2+1)
	rand.Read(raw)
	return hex.EncodeToString(raw)[:n]
}

func base64Of(raw []byte) string { return base64.StdEncoding.EncodeToString(raw) }
