package e2e

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/harness/site"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/flow"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/phone"
)

// csat is the example flow that the tests play.
const csat = "csat-feedback"

// phone is a user with the example flow open, who judges every answer as
// WhatsApp does.
func (s installation) phone(t *testing.T, token string) *phone.Phone {
	t.Helper()
	definitions, err := flow.LoadDir(os.DirFS(filepath.Join(root, "examples")))
	if err != nil {
		t.Fatal(err)
	}
	return s.phoneFor(definitions[csat], token)
}

func (s installation) phoneFor(definition *flow.Definition, token string) *phone.Phone {
	return &phone.Phone{
		PublicKey: &s.Secrets.PrivateKey.PublicKey, AppSecret: []byte(s.Secrets.AppSecret),
		Token: token, Flow: definition, Send: s.Transport(csat),
	}
}

// converse plays the example flow from INIT to SUCCESS and returns the params.
func converse(ctx context.Context, p *phone.Phone, score, comment string) (json.RawMessage, error) {
	if _, err := p.Init(ctx); err != nil {
		return nil, fmt.Errorf("INIT: %w", err)
	}
	answers := map[string]any{"score": score}
	if _, err := p.Exchange(ctx, "RATING", answers); err != nil {
		return nil, fmt.Errorf("RATING: %w", err)
	}
	answers["comment"] = comment
	if _, err := p.Exchange(ctx, "COMMENT", answers); err != nil {
		return nil, fmt.Errorf("COMMENT: %w", err)
	}
	answers["contact_me"] = true
	last, err := p.Exchange(ctx, "THANKS", answers)
	if err != nil {
		return nil, fmt.Errorf("THANKS: %w", err)
	}
	if !last.Ended || last.Params == nil {
		return nil, fmt.Errorf("the last step leads to %s, expected SUCCESS with params", last.Screen)
	}
	return last.Params, nil
}

// completion is Meta's webhook about a finished flow of one user.
func completion(wamid string, params json.RawMessage) []byte {
	return phone.CompletionWebhook(phone.Completion{
		WABA: "102290129340398", PhoneNumberID: "106540352242922", DisplayPhone: "15550783881",
		Phone: "15550100", UserID: "US.4815162342", Name: "Grüße", MessageID: wamid,
		ContextID: "wamid.FLOWMESSAGE", Time: time.Now(), Params: params,
	})
}

// complete plays a whole conversation and its webhook, and returns the wamid
// once the webhook has its 200.
func (s installation) complete(ctx context.Context, p *phone.Phone) (wamid string, err error) {
	params, err := converse(ctx, p, "4", "as it was")
	if err != nil {
		return "", err
	}
	wamid = "wamid." + rand.Text()
	status, err := s.Webhook(ctx, completion(wamid, params))
	if err == nil && status != http.StatusOK {
		err = fmt.Errorf("the webhook got status %d", status)
	}
	return wamid, err
}

// number is the one number that a query yields.
func (s installation) number(t *testing.T, sql string, args ...any) int {
	t.Helper()
	var n int
	err := s.Query(t.Context(), func(conn *pgx.Conn) error { return conn.QueryRow(t.Context(), sql, args...).Scan(&n) })
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// readAll waits until the worker has committed every entry.
func (s installation) readAll(t *testing.T) {
	t.Helper()
	eventually(t, 30*time.Second, "the worker reads every entry", func(ctx context.Context) error {
		unread, err := s.Unread(ctx)
		if err == nil && unread > 0 {
			err = fmt.Errorf("%d entries are on the streams", unread)
		}
		return err
	})
}

// wantStored checks that each webhook has become one row, that every step of
// each conversation was stored once, and that nothing was given up.
func (s installation) wantStored(t *testing.T, wamids []string) {
	t.Helper()
	if got := s.number(t, "SELECT count(*) FROM flow_responses WHERE wamid = ANY($1)", wamids); got != len(wamids) {
		t.Errorf("%d of %d answers are stored", got, len(wamids))
	}
	if got := s.number(t, "SELECT count(*) FROM flow_responses"); got != len(wamids) {
		t.Errorf("%d rows for %d answers", got, len(wamids))
	}
	const stepsOfConversation = 4
	odd := s.number(t, "SELECT count(*) FROM (SELECT FROM flow_steps WHERE token_hash IS NOT NULL GROUP BY token_hash HAVING count(*) <> $1) AS s", stepsOfConversation)
	if odd > 0 {
		t.Errorf("%d conversations have not exactly %d steps", odd, stepsOfConversation)
	}
	if got := s.number(t, "SELECT count(*) FROM flow_responses r JOIN flow_sessions f ON f.id = r.session_id WHERE f.status = 'completed'"); got != len(wamids) {
		t.Errorf("%d of %d answers found their session", got, len(wamids))
	}
	if got := s.number(t, "SELECT count(*) FROM dead_entries"); got != 0 {
		t.Errorf("%d dead entries", got)
	}
}

// wantDelivered waits until the receiver has a callback for each row, each
// webhook-id always with the same body, and returns how often one came again.
func (s installation) wantDelivered(t *testing.T, answers int) (repeated int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 40*time.Second)
	defer cancel()
	if err := s.Receiver.Wait(ctx, func(got []site.Callback) bool { return len(byID(got)) >= answers }); err != nil {
		t.Fatal(err)
	}
	all := s.Receiver.Callbacks()
	for _, callback := range all {
		if callback.Err != nil {
			t.Errorf("callback %s: %v", callback.ID, callback.Err)
		}
	}
	distinct := byID(all)
	if len(distinct) != answers {
		t.Errorf("%d callbacks for %d answers", len(distinct), answers)
	}
	for id, bodies := range distinct {
		for _, body := range bodies[1:] {
			if body != bodies[0] {
				t.Errorf("callback %s came with two bodies:\n%s\n%s", id, bodies[0], body)
			}
		}
	}
	return len(all) - len(distinct)
}

func byID(callbacks []site.Callback) map[string][]string {
	bodies := map[string][]string{}
	for _, callback := range callbacks {
		bodies[callback.ID] = append(bodies[callback.ID], string(callback.Body))
	}
	return bodies
}

// wantRefused checks that an error is WhatsApp's refusal under one of keys.
func wantRefused(t *testing.T, err error, keys ...string) {
	t.Helper()
	var refusal *phone.RefusalError
	if !errors.As(err, &refusal) {
		t.Errorf("got %v, want a refusal", err)
		return
	}
	for _, key := range keys {
		if refusal.Key == key {
			return
		}
	}
	t.Errorf("refused under %s (%s), want %v", refusal.Key, refusal.Reason, keys)
}
