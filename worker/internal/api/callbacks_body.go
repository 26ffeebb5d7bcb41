package api

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/flowjson/jsontree"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/worker/internal/callback"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/worker/internal/endpoint"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/worker/internal/eventtype"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/worker/internal/payload"
)

// CallbackInput documents what a client may send of a callback endpoint.
// callbackBody reads it.
type CallbackInput struct {
	Account           string            `json:"account,omitempty" doc:"Only when it is created. * gets events of every account, and needs a token of all accounts" example:"default"`
	Name              string            `json:"name,omitempty" maxLength:"100" pattern:"^[A-Za-z0-9][A-Za-z0-9._-]*$" doc:"Unique in the account. POST must have it" example:"crm"`
	Description       *string           `json:"description,omitempty" nullable:"true" maxLength:"1000"`
	URL               string            `json:"url,omitempty" format:"uri" maxLength:"2048" doc:"http or https. Private addresses need CALLBACK_ALLOW_CIDRS. POST must have it" example:"https://crm.example.com/whatsapp"`
	Events            []string          `json:"events,omitempty" doc:"Event types, or patterns such as flow.* and *. Default flow.completed" example:"[\"flow.*\"]"`
	Flows             []string          `json:"flows,omitempty" nullable:"true" doc:"Only what is about these flows, by name or by Meta's id. Null: every flow, and what is about none"`
	Payload           string            `json:"payload,omitempty" enum:"seed,event,raw" doc:"event: a typed envelope. seed: the JSON of whatsapp-flows-server, of flow.completed only. raw: Meta's bytes, of webhook.received only. Default event, for webhook.received alone raw"`
	Headers           map[string]string `json:"headers,omitempty" doc:"Sent with every request. Replaces all of them; values are never shown again"`
	Auth              *CallbackAuth     `json:"auth,omitempty" doc:"The Authorization header. Never shown again; null: none"`
	TimeoutMs         int               `json:"timeoutMs,omitempty" minimum:"1" maximum:"20000" doc:"Of one attempt. Default 15000" example:"15000"`
	MaxAttempts       int               `json:"maxAttempts,omitempty" minimum:"1" maximum:"50" doc:"Default: as many as the schedule has" example:"10"`
	Schedule          []int32           `json:"schedule,omitempty" nullable:"true" doc:"Seconds before each attempt, the first included; ±20 %. Null: 0, 5, 300, 1800, 7200, 18000, 36000, 50400, 72000, 86400" example:"[0, 5, 300]"`
	MaxInFlight       int               `json:"maxInFlight,omitempty" minimum:"1" maximum:"1000" doc:"Attempts at once. Default 32" example:"32"`
	RateLimit         *float64          `json:"rateLimit,omitempty" nullable:"true" doc:"Requests a second, over all workers. Null: no limit"`
	Ordered           bool              `json:"ordered,omitempty" doc:"One after the other for each flow token: a delivery that fails holds up those behind it"`
	DisableAfterHours int               `json:"disableAfterHours,omitempty" minimum:"0" maximum:"8760" doc:"Of failures without a success, then it is disabled. 0: never. Default 120" example:"120"`
	Secret            string            `json:"secret,omitempty" doc:"Only when it is created: whsec_ and the base64 of 24 to 64 bytes. Left out: one is made" example:"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"`
}

// CallbackAuth is an Authorization header.
type CallbackAuth struct {
	Type     string `json:"type" enum:"basic,bearer"`
	Token    string `json:"token,omitempty" doc:"Of bearer"`
	Username string `json:"username,omitempty" doc:"Of basic"`
	Password string `json:"password,omitempty" doc:"Of basic"`
}

var (
	callbackFields = []string{"name", "description", "url", "events", "flows", "payload", "headers", "auth", "timeoutMs", "maxAttempts",
		"schedule", "maxInFlight", "rateLimit", "ordered", "disableAfterHours"}
	callbackNewFields = []string{"account", "secret"}
	// callbackReadOnly are fields of our answers: a client may send back what it got.
	callbackReadOnly = []string{"id", "headerNames", "authType", "status", "statusReason", "statusSince", "pausedUntil", "failures",
		"failingSince", "secrets", "createdAt", "updatedAt"}
)

// callbackBody is a body with what it holds of a callback endpoint: for a patch,
// left out and null differ.
type callbackBody struct{ fields map[string]json.RawMessage }

// Schema implements huma.SchemaProvider.
func (callbackBody) Schema(r huma.Registry) *huma.Schema {
	return r.Schema(reflect.TypeFor[CallbackInput](), true, "")
}

func (b *callbackBody) readBody(text []byte) error {
	tree, err := parseBody(text)
	if err != nil {
		return err
	}
	if tree.Kind != jsontree.Object {
		return fmt.Errorf("the body is a JSON %s, expected an object with %s", tree.Kind, strings.Join(callbackFields, ", "))
	}
	b.fields = make(map[string]json.RawMessage, len(tree.Members))
	for _, m := range tree.Members {
		if !slices.Contains(callbackFields, m.Name) && !slices.Contains(callbackNewFields, m.Name) && !slices.Contains(callbackReadOnly, m.Name) {
			return fmt.Errorf("there is no field %.64q, expected %s", m.Name, strings.Join(callbackFields, ", "))
		}
		if b.fields[m.Name] != nil {
			return fmt.Errorf("the field %s comes twice", m.Name)
		}
		b.fields[m.Name] = bytes.Clone(text[m.Value.Start:m.Value.End]) // the buffer that text is in is used again
	}
	return nil
}

// changes says whether there is anything to change.
func (b *callbackBody) changes() bool {
	return slices.ContainsFunc(callbackFields, func(name string) bool { return b.fields[name] != nil })
}

// take reads a field into v; null is what nothing stands for. Values are not
// repeated: they may be secrets.
func take[T any](b *callbackBody, name string, v *T, nothing T) error {
	raw := b.fields[name]
	if raw == nil {
		return nil
	}
	if string(raw) == "null" {
		*v = nothing
		return nil
	}
	var read T
	if err := json.Unmarshal(raw, &read); err != nil {
		var wrong *json.UnmarshalTypeError
		if errors.As(err, &wrong) {
			return badRequest("%s holds a JSON %s, expected %s", name, wrong.Value, expectedOf(wrong.Type))
		}
		return badRequest("%s cannot be read: %s", name, err)
	}
	*v = read
	return nil
}

func expectedOf(t reflect.Type) string {
	switch t.Kind() {
	case reflect.Int, reflect.Int32, reflect.Int64:
		return "a whole number"
	case reflect.Float64:
		return "a number"
	case reflect.Bool:
		return "true or false"
	case reflect.Slice:
		return "a list"
	case reflect.Map, reflect.Struct:
		return "an object"
	}
	return "a text"
}

// settings are those of s, with what the client sent in their place.
func (b *callbackBody) settings(s endpoint.Settings) (endpoint.Settings, error) {
	s = s.Clone()
	none := endpoint.Defaults()
	timeout, auth := int(s.Timeout.Milliseconds()), (*CallbackAuth)(nil)
	form := string(s.Payload)
	err := errors.Join(
		take(b, "name", &s.Name, ""), take(b, "description", &s.Description, ""), take(b, "url", &s.URL, ""),
		take(b, "events", &s.Events, none.Events), take(b, "flows", &s.Flows, nil), take(b, "payload", &form, string(none.Payload)),
		take(b, "headers", &s.Headers, nil), take(b, "auth", &auth, nil), take(b, "timeoutMs", &timeout, int(none.Timeout.Milliseconds())),
		take(b, "schedule", &s.Schedule, nil), take(b, "maxInFlight", &s.MaxInFlight, none.MaxInFlight), take(b, "rateLimit", &s.RateLimit, 0),
		take(b, "ordered", &s.Ordered, false), take(b, "disableAfterHours", &s.DisableAfterHours, none.DisableAfterHours))
	if raw := b.fields["rateLimit"]; err == nil && s.RateLimit == 0 && raw != nil && string(raw) != "null" {
		err = badRequest("rateLimit is 0, expected 0.001 to 10000 requests a second, or null for no limit: to send nothing, pause the endpoint")
	}
	if err != nil {
		return s, err
	}
	s.Timeout, s.Payload = time.Duration(timeout)*time.Millisecond, payload.Form(form)
	if b.fields["schedule"] != nil {
		s.MaxAttempts = len(s.Schedule)
		if s.Schedule == nil {
			s.MaxAttempts = len(callback.Schedule)
		}
	}
	if err := take(b, "maxAttempts", &s.MaxAttempts, s.MaxAttempts); err != nil {
		return s, err
	}
	if s.Schedule != nil && s.MaxAttempts > len(s.Schedule) && b.fields["maxAttempts"] != nil {
		return s, badRequest("maxAttempts is %d, and the schedule has %d attempts", s.MaxAttempts, len(s.Schedule))
	}
	if b.fields["auth"] != nil {
		s.Auth, err = auth.header()
	}
	return s, err
}

// fresh are the settings of a new endpoint.
func (b *callbackBody) fresh() (endpoint.Settings, error) {
	s, err := b.settings(endpoint.Defaults())
	if b.fields["payload"] == nil && len(s.Events) == 1 && s.Events[0] == string(eventtype.WebhookReceived) {
		s.Payload = payload.Raw
	}
	return s, err
}

// header is the value of the Authorization header; empty for none.
func (auth *CallbackAuth) header() (header string, err error) {
	switch {
	case auth == nil:
		return "", nil
	case auth.Type == "bearer" && auth.Username == "" && auth.Password == "":
		header, err = endpoint.Bearer(auth.Token)
	case auth.Type == "basic" && auth.Token == "":
		header, err = endpoint.Basic(auth.Username, auth.Password)
	default:
		return "", badRequest(`auth is neither {"type": "bearer", "token": …} nor {"type": "basic", "username": …, "password": …}`)
	}
	if err != nil {
		return "", badRequest("%s", sentence(err.Error()))
	}
	return header, nil
}
