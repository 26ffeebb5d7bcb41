package main

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"

	"github.com/redis/go-redis/v9"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/harness/load"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/keyspace"
)

// accountName is the name of the only account of the repository's Caddyfile.
const accountName = "default"

// copySessions has n users begin the flow, whose tokens token names: the first
// through the edge, the others as copies of that session, lifetime included,
// under their own keys. Nothing in a session but its key tells whose it is.
func (t *target) copySessions(ctx context.Context, n int, token func(i int) string) error {
	keys := keyspace.New(t.Prefix, t.shards)
	original := rand.Text()
	call, err := t.opening(0, original)
	if err != nil {
		return err
	}
	if err := t.answerAll(ctx, []load.Call{call}, 1); err != nil {
		return err
	}
	key := func(token string) string {
		return keys.Session(keys.SessionShard(accountName, t.flows[0], token), accountName, t.flows[0], token)
	}
	begun, err := t.redis.Dump(ctx, key(original)).Result()
	if err != nil {
		return fmt.Errorf("the session that was begun is not where it should be: %w", err)
	}
	ttl, err := t.redis.PTTL(ctx, key(original)).Result()
	if err != nil {
		return err
	}
	const perPipeline = 1000
	for from := 0; from < n; from += perPipeline {
		_, err := t.redis.Pipelined(ctx, func(p redis.Pipeliner) error {
			for i := from; i < min(from+perPipeline, n); i++ {
				p.Restore(ctx, key(token(i)), ttl, begun)
			}
			return nil
		})
		if err != nil {
			return fmt.Errorf("copying sessions: %w", err)
		}
	}
	return quiet(ctx, t.redis)
}

// begin has as many sessions begun as the target is to have.
func (t *target) begin(ctx context.Context) error {
	if t.begun == 0 {
		return nil
	}
	return t.copySessions(ctx, t.begun, begunToken)
}

// begunToken is the token of the i-th session of those of begin.
func begunToken(i int) string { return fmt.Sprintf("begun-%07d", i) }

// unused are the tokens of n sessions of those of begin that no request has
// named yet, spread over all of them; false when there are not that many.
func (t *target) unused(n int) ([]string, bool) {
	if t.begun-t.used < n {
		return nil, false
	}
	tokens := make([]string, n)
	for i := range tokens {
		// A prime: the steps meet no session twice, whatever their number.
		const stride = 611953
		tokens[i] = begunToken((t.used + i) * stride % t.begun)
	}
	t.used += n
	return tokens, true
}

// copyFlows writes n flows into dir, all alike but for their names and titles,
// and returns the names.
func copyFlows(examples, dir string, n int) ([]string, error) {
	document, err := os.ReadFile(filepath.Join(examples, flowName, "flow.json"))
	if err != nil {
		return nil, err
	}
	logic, err := os.ReadFile(filepath.Join(examples, flowName, "logic.yaml"))
	if err != nil {
		return nil, err
	}
	names := make([]string, n)
	for i := range names {
		names[i] = fmt.Sprintf("csat-%04d", i)
		one, err := retitled(document, names[i])
		if err != nil {
			return nil, err
		}
		folder := filepath.Join(dir, names[i])
		if err := os.MkdirAll(folder, 0o755); err != nil {
			return nil, err
		}
		if err := os.WriteFile(filepath.Join(folder, "flow.json"), one, 0o644); err != nil {
			return nil, err
		}
		if err := os.WriteFile(filepath.Join(folder, "logic.yaml"), logic, 0o644); err != nil {
			return nil, err
		}
	}
	return names, nil
}

// retitled gives the first screen another title, so that the flow's hash is its
// own.
func retitled(document []byte, title string) ([]byte, error) {
	var d map[string]any
	if err := json.Unmarshal(document, &d); err != nil {
		return nil, err
	}
	screens, _ := d["screens"].([]any)
	if len(screens) == 0 {
		return nil, fmt.Errorf("the flow %s has no screens", flowName)
	}
	screens[0].(map[string]any)["title"] = title
	return json.Marshal(d)
}
