package api

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/flowjson/jsontree"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/worker/internal/flows"
)

// FlowSummary is a flow without its content, as lists have it.
type FlowSummary struct {
	ID            string    `json:"id" format:"uuid" example:"0199d0d7-6b0e-7c3a-8f62-0f6e1f0f7a11"`
	Account       string    `json:"account" example:"default"`
	Name          string    `json:"name" example:"csat-feedback"`
	Version       string    `json:"version" doc:"Free text; unless it was given, the version that the Flow JSON declares" example:"7.3"`
	Status        string    `json:"status" enum:"active,inactive,deprecated"`
	Description   *string   `json:"description"`
	MetaFlowID    *string   `json:"metaFlowId"`
	TemplateName  *string   `json:"templateName"`
	CallbackURL   *string   `json:"callbackUrl"`
	ActiveVersion *int      `json:"activeVersion" doc:"The version that the edges serve, unless status is inactive; null when there is none"`
	LatestVersion int       `json:"latestVersion"`
	Definition    *string   `json:"definition" doc:"SHA-256 of what is published, in hex"`
	CreatedAt     Timestamp `json:"createdAt"`
	UpdatedAt     Timestamp `json:"updatedAt"`
}

// Flow is a flow with the content of its active version.
type Flow struct {
	FlowSummary
	Logic    *string         `json:"logic" doc:"The logic of the active version, as it was written"`
	FlowJSON json.RawMessage `json:"flowJson" doc:"The Flow JSON of the active version, byte for byte, without a byte order mark; null when no version is active"`
}

func summary(f *flows.Flow) FlowSummary {
	s := FlowSummary{
		ID: f.ID.String(), Account: f.Account, Name: f.Name, Status: f.Status, Description: f.Description, MetaFlowID: f.MetaFlowID,
		TemplateName: f.TemplateName, CallbackURL: f.CallbackURL, LatestVersion: f.Latest, Definition: f.Definition,
		CreatedAt: Timestamp(f.CreatedAt), UpdatedAt: Timestamp(f.UpdatedAt),
	}
	if f.Label != nil {
		s.Version = *f.Label
	}
	if f.Active > 0 {
		s.ActiveVersion = &f.Active
	}
	return s
}

// flowOf is f with the content of a version, which may be nil.
func flowOf(f *flows.Flow, v *flows.Version) Flow {
	whole := Flow{FlowSummary: summary(f)}
	if v != nil {
		whole.Logic, whole.FlowJSON = logicText(v.Logic), inEnvelope(v)
	}
	return whole
}

func logicText(rules []byte) *string {
	if len(rules) == 0 {
		return nil
	}
	text := string(rules)
	return &text
}

// inEnvelope is a Flow JSON as a value inside another document, which cannot
// hold a byte order mark. What is no JSON, which only a broken version may have,
// becomes a string.
func inEnvelope(v *flows.Version) json.RawMessage {
	text := bytes.TrimPrefix(v.FlowJSON, jsontree.ByteOrderMark)
	if v.Hash != nil || json.Valid(text) {
		return text
	}
	quoted, err := json.Marshal(string(v.FlowJSON))
	if err != nil {
		panic(err) // a string always can
	}
	return quoted
}

// verbatim is a body that writes itself: encoding/json rewrites every
// RawMessage.
type verbatim interface{ writeJSON(w io.Writer) error }

func marshal(w io.Writer, v any) error {
	if body, own := v.(verbatim); own {
		return body.writeJSON(w)
	}
	return huma.DefaultJSONFormat.Marshal(w, v)
}

// flowEnvelope is an answer with one flow.
type flowEnvelope struct {
	Success    bool        `json:"success" doc:"Always true"`
	Data       Flow        `json:"data"`
	Validation *Validation `json:"validation,omitempty" doc:"What was found when the content was stored"`
	Note       string      `json:"note,omitempty" doc:"What the client should know about what was done"`
	Timestamp  Timestamp   `json:"timestamp"`
}

func (e flowEnvelope) writeJSON(w io.Writer) error {
	flowJSON := e.Data.FlowJSON
	e.Data.FlowJSON = nil
	return splice(w, e, flowJSON)
}

// splice writes envelope as JSON with flowJSON, byte for byte, in the place of
// its one "flowJson":null.
func splice(w io.Writer, envelope any, flowJSON []byte) error {
	var text bytes.Buffer
	encoder := json.NewEncoder(&text)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(envelope); err != nil {
		return err
	}
	// No string holds it: its quotes would be escaped. No other field has the name.
	before, after, _ := bytes.Cut(text.Bytes(), []byte(`"flowJson":null`))
	if flowJSON == nil {
		flowJSON = []byte("null")
	}
	for _, part := range [][]byte{before, []byte(`"flowJson":`), flowJSON, after} {
		if _, err := w.Write(part); err != nil {
			return err
		}
	}
	return nil
}

// flowAnswer is the output of an operation on one flow.
type flowAnswer struct {
	Status   int
	ETag     string `header:"ETag" doc:"Changes with every change of the flow; for If-Match and If-None-Match"`
	Location string `header:"Location" hidden:"true"`
	Body     flowEnvelope
}

func answerFlow(status int, f *flows.Flow, v *flows.Version) *flowAnswer {
	return &flowAnswer{
		Status: status, ETag: etag(f),
		Body: flowEnvelope{Success: true, Data: flowOf(f, v), Timestamp: now()},
	}
}

// revalidated lets a client keep an answer, if it asks each time whether it still
// holds.
func revalidated(op huma.Operation) huma.Operation {
	op.Middlewares = append(op.Middlewares, func(ctx huma.Context, next func(huma.Context)) {
		ctx.SetHeader("Cache-Control", "private, no-cache")
		next(ctx)
	})
	return op
}

// etag names a state of a flow.
func etag(f *flows.Flow) string { return revisionTag(f.ID.String(), f.Revision) }

// names says whether a list of entity tags, or *, holds tag. A weak one counts:
// proxies that compress make tags weak.
func names(list, tag string) bool {
	for item := range strings.SplitSeq(list, ",") {
		item = strings.TrimPrefix(strings.TrimSpace(item), "W/")
		if item == tag || item == "*" {
			return true
		}
	}
	return false
}

// unchanged is a 304 for a client that has this state already; nil else.
func unchanged(ifNoneMatch, tag string) error {
	if ifNoneMatch == "" || !names(ifNoneMatch, tag) {
		return nil
	}
	return &notModified{tag}
}

// notModified is a huma.StatusError without a body.
type notModified struct{ tag string }

func (n *notModified) Error() string  { return "not modified" }
func (n *notModified) GetStatus() int { return http.StatusNotModified }

// GetHeaders implements huma.HeadersError.
func (n *notModified) GetHeaders() http.Header {
	return http.Header{"Etag": {n.tag}}
}
