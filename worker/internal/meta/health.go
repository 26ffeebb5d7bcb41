package meta

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/graph"
)

// Number is a phone number with the public key Meta holds for it.
type Number struct {
	graph.Number
	// Key is VALID, MISMATCH, if none was set NONE, and UNKNOWN if Meta refused to
	// tell.
	Key string `json:"public_key"`
	// Refused is why it did.
	Refused string `json:"refused,omitempty"`
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
		var refused *graph.Error
		if err != nil && !errors.As(err, &refused) {
			return nil, err
		}
		all[i] = Number{Number: n, Key: key.Signature}
		switch {
		case err != nil:
			all[i].Key, all[i].Refused = unknown, err.Error()
		case key.PEM == "":
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
	CanSend  string   `json:"can_send_message"` // AVAILABLE, LIMITED, BLOCKED, UNKNOWN; of a token too
	Problems []string `json:"problems"`         // what is wrong, with what to do
	// Refused says that Meta did not tell, for the reason in Problems.
	Refused bool `json:"refused,omitempty"`
}

// unknown is what Meta does not tell.
const unknown = "UNKNOWN"

// Bad says whether something does not work as it should, or may not.
func (c *Condition) Bad() bool {
	return c.CanSend == graph.HealthBlocked || c.Kind == "token" && c.CanSend != graph.Available || c.Refused
}

// Conditions are the health of the token, the account, its numbers and its flows
// that are not deprecated. What was found before an error comes with it.
func Conditions(ctx context.Context, c *graph.Client, account string, now time.Time) ([]Condition, error) {
	token, err := tokenCondition(ctx, c, now)
	if err != nil {
		return nil, err
	}
	all := []Condition{token}
	if token.CanSend == graph.HealthBlocked {
		return all, nil // the other calls would only say the same
	}
	ask := func(kind, id, name, status string) error {
		h, err := c.HealthStatus(ctx, id)
		var refused *graph.Error
		if err != nil && !errors.As(err, &refused) {
			return err
		}
		one := condition(kind, id, name, status, h)
		if err != nil {
			one.Refused, one.Problems = true, []string{err.Error()}
		}
		all = append(all, one)
		return nil
	}
	if err := ask("account", account, "", ""); err != nil {
		return all, err
	}
	numbers, err := c.Numbers(ctx, account)
	if err != nil {
		return all, err
	}
	for _, n := range numbers {
		if err := ask("number", n.ID, n.Display, n.Status); err != nil {
			return all, err
		}
	}
	flows, err := c.Flows(ctx, account)
	if err != nil {
		return all, err
	}
	for _, f := range flows {
		if f.Status == graph.Deprecated {
			continue
		}
		if err := ask("flow", f.ID, f.Name, f.Status); err != nil {
			return all, err
		}
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
	c := Condition{Kind: kind, ID: id, Name: name, Status: status, CanSend: unknown, Problems: []string{}}
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
