package callback

import (
	"encoding/json"
	"net/url"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/worker/internal/eventtype"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/worker/internal/payload"
)

// LongestTimeout is the longest an attempt may take: short enough that a
// worker told to stop finishes what it has begun.
const LongestTimeout = 20 * time.Second

// Endpoint is what sending to a receiver takes.
type Endpoint struct {
	ID          uuid.UUID
	Account     string // AnyAccount, or one
	Name        string
	URL         string
	Secrets     []string          // that are valid now, current first
	Headers     map[string]string // sent with every request
	Auth        string            // value of Authorization; empty: none
	Timeout     time.Duration     // at most LongestTimeout
	MaxAttempts int
	Schedule    []time.Duration // pause before each attempt; nil: the default
	Form        payload.Form

	ordered bool // one in flight for each flow token
	limited bool // has a rate limit
}

// host is what logs say of the URL.
func (e *Endpoint) host() string {
	u, err := url.Parse(e.URL)
	if err != nil {
		return ""
	}
	return u.Host
}

// Delivery is one claimed delivery: the right, until its lease ends, to make
// one attempt.
type Delivery struct {
	ID          uuid.UUID // of the row
	Lease       uuid.UUID
	EventID     uuid.UUID // the webhook-id
	EventType   eventtype.Type
	EventAt     time.Time
	Account     string
	Attempt     int // this attempt's number, from 1
	Base        int // attempts before the latest replay
	Replay      bool
	Traceparent string
	Body        []byte
	Endpoint    *Endpoint

	frozen      int // size of the body that an attempt before has sent; -1: none has
	subject     payload.Subject
	orderingKey string
	late        time.Duration // from when it was due to its claim
}

// event is what its body is made from.
func (d *Delivery) event() payload.Event {
	return payload.Event{
		ID: d.EventID, Type: d.EventType, At: d.EventAt, Account: d.Account, Form: d.Endpoint.Form, Subject: d.subject,
	}
}

// endpointColumns are read by readEndpoint. A secret whose time is over signs
// nothing.
const endpointColumns = `e.id, e.account, e.name, e.url,
	ARRAY(SELECT s.secret FROM unnest(e.secrets, e.secret_expiries) WITH ORDINALITY AS s (secret, until, place)
		WHERE s.secret IS NOT NULL AND (s.until IS NULL OR s.until > now()) ORDER BY s.place),
	e.headers::text, coalesce(e.auth, ''), e.timeout_ms, e.max_attempts, e.schedule, e.payload, e.ordered, e.rate_limit IS NOT NULL`

func readEndpoint(row pgx.CollectableRow) (*Endpoint, error) {
	var (
		e        Endpoint
		headers  string
		timeout  int64
		schedule []int32
	)
	err := row.Scan(&e.ID, &e.Account, &e.Name, &e.URL, &e.Secrets, &headers, &e.Auth, &timeout, &e.MaxAttempts, &schedule,
		&e.Form, &e.ordered, &e.limited)
	if err != nil {
		return nil, err
	}
	e.Timeout = min(time.Duration(timeout)*time.Millisecond, LongestTimeout)
	for _, seconds := range schedule {
		e.Schedule = append(e.Schedule, time.Duration(seconds)*time.Second)
	}
	if headers != "{}" {
		// Fails open: what no release wrote is no reason to send nothing.
		_ = json.Unmarshal([]byte(headers), &e.Headers)
	}
	return &e, nil
}
