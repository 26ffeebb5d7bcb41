package meta

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/graph"
)

// Number is a phone number with the public key Meta holds for it.
type Number struct {
	graph.Number
	// Key is VALID, MISMATCH or, if none was set, NONE.
	Key string `json:"public_key"`
}

// Numbers lists the phone numbers of an account.
func Numbers(ctx context.Context, c *graph.Client, account string) ([]Number, error) {
	numbers, err := c.Numbers(ctx, account)
	if err != nil {
		return nil, err
	}
	all := make([]Number, len(numbers))
	for i, n := range numbers {
		key, err := c.GetPublicKey(ctx, n.ID)
		if err != nil {
			return nil, err
		}
		all[i] = Number{Number: n, Key: key.Signature}
		if key.PEM == "" {
			all[i].Key = "NONE"
		}
	}
	return all, nil
}

// Condition is the health of one object.
type Condition struct {
	Kind     string   `json:"kind"` // token, account, number, flow
	ID       string   `json:"id"`
	Name     string   `json:"name,omitempty"`
	Status   string   `json:"status,omitempty"` // of a flow or number
	CanSend  string   `json:"can_send_message"` // AVAILABLE, LIMITED, BLOCKED; of a token too
	Problems []string `json:"problems"`         // what is wrong, with what to do
}

// Conditions are the health of the token, the account, its numbers and its flows
// that are not deprecated.
func Conditions(ctx context.Context, c *graph.Client, account string, now time.Time) ([]Condition, error) {
	token, err := tokenCondition(ctx, c, now)
	if err != nil {
		return nil, err
	}
	all := []Condition{token}
	if token.CanSend == graph.HealthBlocked {
		return all, nil // the other calls would only say the same
	}
	h, err := c.HealthStatus(ctx, account)
	if err != nil {
		return all, err
	}
	all = append(all, condition("account", account, "", "", h))
	numbers, err := c.Numbers(ctx, account)
	if err != nil {
		return all, err
	}
	for _, n := range numbers {
		h, err := c.HealthStatus(ctx, n.ID)
		if err != nil {
			return all, err
		}
		all = append(all, condition("number", n.ID, n.Display, n.Status, h))
	}
	flows, err := c.Flows(ctx, account)
	if err != nil {
		return all, err
	}
	for _, f := range flows {
		if f.Status == graph.Deprecated {
			continue
		}
		h, err := c.HealthStatus(ctx, f.ID)
		if err != nil {
			return all, err
		}
		all = append(all, condition("flow", f.ID, f.Name, f.Status, h))
	}
	return all, nil
}

// soon is how long before its end a token is complained of.
const soon = 14 * 24 * time.Hour

func tokenCondition(ctx context.Context, c *graph.Client, now time.Time) (Condition, error) {
	info, err := c.DebugToken(ctx)
	if err != nil {
		return Condition{}, err
	}
	t := Condition{Kind: "token", ID: info.AppID, Name: info.Application, Status: info.Type, CanSend: graph.Available, Problems: []string{}}
	if !info.Valid {
		t.CanSend = graph.HealthBlocked
		t.Problems = append(t.Problems, "the access token is not valid: make a new one for a system user and set META_ACCESS_TOKEN")
		return t, nil
	}
	if lacks := info.Lacks(); len(lacks) > 0 {
		t.CanSend = graph.Limited
		t.Problems = append(t.Problems, fmt.Sprintf("the token lacks %s: make a new one with it", strings.Join(lacks, " and ")))
	}
	if end := time.Unix(info.Expires, 0); info.Expires != 0 {
		if end.Sub(now) < soon {
			t.CanSend = graph.Limited
		}
		t.Problems = append(t.Problems, fmt.Sprintf("the token expires at %s: that of a system user can be made without an end", end.UTC().Format(time.RFC3339)))
	}
	return t, nil
}

// condition reads Meta's health of one object. What Meta says of others, such as
// the business of a number, belongs to it too: a message needs them all.
func condition(kind, id, name, status string, h *graph.Health) Condition {
	c := Condition{Kind: kind, ID: id, Name: name, Status: status, CanSend: "UNKNOWN", Problems: []string{}}
	if h == nil {
		return c
	}
	c.CanSend = h.CanSend
	for _, e := range h.Entities {
		if e.CanSend == graph.Available {
			continue
		}
		if len(e.Errors) == 0 {
			c.Problems = append(c.Problems, fmt.Sprintf("%s %s is %s", e.Type, e.ID, e.CanSend))
		}
		for _, problem := range e.Errors {
			text := fmt.Sprintf("%s %s: %s (%d)", e.Type, e.ID, strings.TrimSuffix(problem.Description, "."), problem.Code)
			if problem.Solution != "" {
				text += ": " + problem.Solution
			}
			c.Problems = append(c.Problems, text)
		}
	}
	return c
}
