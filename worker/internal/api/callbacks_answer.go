package api

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strconv"
	"time"

	"github.com/google/uuid"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/worker/internal/endpoint"
)

// Callback is a callback endpoint, without what is secret of it.
type Callback struct {
	ID                string     `json:"id" format:"uuid"`
	Account           string     `json:"account" doc:"The account whose events it gets; * is every one" example:"default"`
	Name              string     `json:"name" example:"crm"`
	Description       string     `json:"description"`
	URL               string     `json:"url" format:"uri" example:"https://crm.example.com/whatsapp"`
	Events            []string   `json:"events" nullable:"false" doc:"Event types, or patterns that end in *" example:"[\"flow.completed\"]"`
	Flows             []string   `json:"flows" doc:"Names of flows, or Meta's ids of them; null: every flow, and what is about none"`
	Payload           string     `json:"payload" enum:"seed,event,raw"`
	HeaderNames       []string   `json:"headerNames" nullable:"false" doc:"Names of its own headers; the values are not shown"`
	AuthType          *string    `json:"authType" enum:"basic,bearer" doc:"Kind of the Authorization header, which is not shown; null: none"`
	TimeoutMs         int64      `json:"timeoutMs" doc:"Of one attempt" example:"15000"`
	MaxAttempts       int        `json:"maxAttempts" example:"10"`
	Schedule          []int32    `json:"schedule" doc:"Seconds before each attempt, the first included; null: 0, 5, 300, 1800, 7200, 18000, 36000, 50400, 72000, 86400"`
	MaxInFlight       int        `json:"maxInFlight" doc:"Attempts at once" example:"32"`
	RateLimit         *float64   `json:"rateLimit" doc:"Requests a second; null: no limit"`
	Ordered           bool       `json:"ordered" doc:"One after the other for each flow token"`
	DisableAfterHours int        `json:"disableAfterHours" doc:"Of failures without a success; 0: never" example:"120"`
	Status            string     `json:"status" enum:"active,paused,disabled,off" doc:"paused: by you; disabled: by 410 Gone, or days of failures; in both deliveries wait. off: nothing is routed to it"`
	StatusReason      *string    `json:"statusReason"`
	StatusSince       Timestamp  `json:"statusSince"`
	PausedUntil       *Timestamp `json:"pausedUntil" doc:"Until when the receiver's Retry-After, or the breaker, holds deliveries back"`
	Failures          int        `json:"failures" doc:"In a row"`
	FailingSince      *Timestamp `json:"failingSince"`
	Secrets           int        `json:"secrets" doc:"How many sign what is sent"`
	CreatedAt         Timestamp  `json:"createdAt"`
	UpdatedAt         Timestamp  `json:"updatedAt"`

	Secret string `json:"secret,omitempty" doc:"A secret that was made or given just now: it is shown here only" example:"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"`
}

func callbackOf(e *endpoint.Endpoint) Callback {
	c := Callback{
		ID: e.ID.String(), Account: e.Account, Name: e.Name, Description: e.Description, URL: e.URL, Events: e.Events, Flows: e.Flows,
		Payload: string(e.Payload), HeaderNames: slices.Sorted(maps.Keys(e.Headers)), TimeoutMs: e.Timeout.Milliseconds(),
		MaxAttempts: e.MaxAttempts, Schedule: e.Schedule, MaxInFlight: e.MaxInFlight, Ordered: e.Ordered, DisableAfterHours: e.DisableAfterHours,
		Status: string(e.Status), StatusReason: e.StatusReason, StatusSince: Timestamp(e.StatusSince), PausedUntil: optionalTime(e.PausedUntil),
		Failures: e.Failures, FailingSince: optionalTime(e.FailingSince), Secrets: len(e.Secrets),
		CreatedAt: Timestamp(e.CreatedAt), UpdatedAt: Timestamp(e.UpdatedAt),
	}
	if c.HeaderNames == nil {
		c.HeaderNames = []string{}
	}
	if e.Auth != "" {
		kind := endpoint.AuthType(e.Auth)
		c.AuthType = &kind
	}
	if e.RateLimit > 0 {
		c.RateLimit = &e.RateLimit
	}
	return c
}

func optionalTime(t *time.Time) *Timestamp {
	if t == nil {
		return nil
	}
	return (*Timestamp)(t)
}

// callbackAnswer is the output of an operation on one callback endpoint.
type callbackAnswer struct {
	Status       int
	ETag         string `header:"ETag" doc:"Changes with every change of the endpoint; for If-Match and If-None-Match"`
	Location     string `header:"Location" hidden:"true"`
	CacheControl string `header:"Cache-Control" hidden:"true"`
	Body         envelope[Callback]
}

func answerCallback(status int, e *endpoint.Endpoint) *callbackAnswer {
	return &callbackAnswer{Status: status, ETag: callbackTag(e), CacheControl: "private, no-cache",
		Body: envelope[Callback]{Success: true, Data: callbackOf(e), Timestamp: now()}}
}

// withSecret shows a secret, once: nobody keeps a copy on the way.
func (c *callbackAnswer) withSecret(secret string) *callbackAnswer {
	c.Body.Data.Secret, c.CacheControl = secret, "no-store"
	return c
}

func callbackTag(e *endpoint.Endpoint) string { return revisionTag(e.ID.String(), e.Revision) }

// revisionTag names a state of something that has an id and counts its changes.
func revisionTag(id string, revision int64) string {
	return `"` + id[len(id)-12:] + "-" + strconv.FormatInt(revision, 10) + `"`
}

// CallbackPath names a callback endpoint.
type CallbackPath struct {
	Name string `path:"name" maxLength:"255" doc:"Id, or name in the account" example:"crm"`
}

// callbackKey says which endpoint a path means: an id in any account that the
// request is about, or a name in the one account. A token of all accounts also
// finds an endpoint of every account by its name.
func (a *api) callbackKey(ctx context.Context, name string) (endpoint.Key, error) {
	accounts := []string(callOf(ctx).token.Accounts)
	if id, err := uuid.Parse(name); err == nil {
		return endpoint.Key{ID: id, Accounts: a.accounts(ctx)}, nil
	}
	account, err := a.account(ctx)
	return endpoint.Key{Account: account, Name: name, Accounts: accounts}, err
}

// callbackError is an error of package endpoint as the API says it.
func callbackError(err error, name string) error {
	var invalid endpoint.Invalid
	switch {
	case errors.Is(err, endpoint.ErrNotFound):
		return notFound("There is no callback endpoint '%.255s' here", name)
	case errors.Is(err, endpoint.ErrNameTaken):
		return conflict("A callback endpoint with name '%.255s' already exists", name)
	case errors.Is(err, endpoint.ErrOff), errors.Is(err, endpoint.ErrOurs), errors.Is(err, endpoint.ErrSecretKnown):
		return conflict("%s", sentence(err.Error()))
	case errors.As(err, &invalid):
		details := make([]detail, len(invalid))
		for i, m := range invalid {
			details[i] = detail{Message: m.Field + " " + m.Message, Location: "body." + m.Field}
		}
		return badRequest("%s", details[0].Message).with(details)
	}
	return err
}
