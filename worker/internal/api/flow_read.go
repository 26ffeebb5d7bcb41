package api

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/google/uuid"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/worker/internal/flows"
)

func registerFlowReads(a *api) {
	base := func(id, path, summary, text string) huma.Operation {
		return huma.Operation{OperationID: id, Method: http.MethodGet, Path: path, Tags: []string{"Flows"}, Summary: summary, Description: text}
	}
	register(a, base("listFlows", "/api/flows", "List flows", "Without their content. What is added meanwhile neither moves nor doubles what the next page shows."), Read, a.listFlows)
	register(a, revalidated(base("getFlow", "/api/flows/{flow}", "Get a flow", "With the content of its active version.")), Read, a.getFlow)
	const bytes = "Byte for byte as it was stored, so that it can be uploaded to Meta."
	file := base("getFlowJSON", "/api/flows/{flow}/flow.json", "Get the active version's Flow JSON", bytes)
	documentFile(&file, "application/json")
	register(a, revalidated(file), Read, a.getFlowJSON)
	rules := base("getFlowLogic", "/api/flows/{flow}/logic", "Get the active version's logic", "As it was written, YAML or JSON. 404 for a flow without.")
	documentFile(&rules, "application/json", "application/yaml")
	register(a, revalidated(rules), Read, a.getFlowLogic)
}

// documentFile says that an operation answers with a document of its own, not
// with an envelope.
func documentFile(op *huma.Operation, types ...string) {
	content := map[string]*huma.MediaType{}
	for _, t := range types {
		content[t] = &huma.MediaType{Schema: &huma.Schema{Description: "The document itself"}}
	}
	op.Responses = map[string]*huma.Response{"200": {Description: "OK", Content: content}}
}

// flowKey says which flow a path means: an id in any account that the request is
// about, or a name in the one account.
func (a *api) flowKey(ctx context.Context, path FlowPath) (flows.Key, error) {
	if id, err := uuid.Parse(path.Flow); err == nil {
		return flows.Key{ID: id, Accounts: a.accounts(ctx)}, nil
	}
	account, err := a.account(ctx)
	key := flows.Key{Account: account, Name: path.Flow}
	if err == nil && !flowName.MatchString(path.Flow) {
		err = noFlow(flows.ErrNotFound, key)
	}
	return key, err
}

func noFlow(err error, key flows.Key) error {
	switch {
	case !errors.Is(err, flows.ErrNotFound):
		return err
	case key.ID != uuid.Nil:
		return notFound("Flow with identifier '%s' not found", key.ID)
	}
	return notFound("Flow with identifier '%.255s' not found in the account %s", key.Name, key.Account)
}

func (a *api) flow(ctx context.Context, path FlowPath) (*flows.Flow, error) {
	key, err := a.flowKey(ctx, path)
	if err != nil {
		return nil, err
	}
	f, err := flows.Get(ctx, a.Pool, key)
	return f, noFlow(err, key)
}

// active reads a flow with its active version, which is nil if there is none.
func (a *api) active(ctx context.Context, path FlowPath) (*flows.Flow, *flows.Version, error) {
	f, err := a.flow(ctx, path)
	if err != nil {
		return nil, nil, err
	}
	v, err := activeVersion(ctx, a.Pool, f)
	return f, v, err
}

type getFlowInput struct {
	FlowPath
	IfNoneMatch string `header:"If-None-Match" doc:"The ETag of what the client has: 304 if it still holds"`
}

func (a *api) getFlow(ctx context.Context, in *getFlowInput) (*flowAnswer, error) {
	f, err := a.flow(ctx, in.FlowPath)
	if err != nil {
		return nil, err
	}
	if err := unchanged(in.IfNoneMatch, etag(f)); err != nil {
		return nil, err
	}
	v, err := activeVersion(ctx, a.Pool, f)
	return answerFlow(http.StatusOK, f, v), err
}

// document is an answer that is a document of its own.
type document struct {
	ContentType string `header:"Content-Type" hidden:"true"`
	ETag        string `header:"ETag" doc:"Names the content; for If-None-Match"`
	Body        []byte
}

// answerDocument is named by its content.
func answerDocument(contentType, ifNoneMatch string, text []byte) (*document, error) {
	sum := sha256.Sum256(text)
	tag := `"` + hex.EncodeToString(sum[:16]) + `"`
	if err := unchanged(ifNoneMatch, tag); err != nil {
		return nil, err
	}
	return &document{ContentType: contentType, ETag: tag, Body: text}, nil
}

func (a *api) getFlowJSON(ctx context.Context, in *getFlowInput) (*document, error) {
	f, v, err := a.active(ctx, in.FlowPath)
	switch {
	case err != nil:
		return nil, err
	case v == nil:
		return nil, notFound("The flow %s has no active version", f.Name)
	}
	return answerDocument("application/json", in.IfNoneMatch, v.FlowJSON)
}

func (a *api) getFlowLogic(ctx context.Context, in *getFlowInput) (*document, error) {
	f, v, err := a.active(ctx, in.FlowPath)
	switch {
	case err != nil:
		return nil, err
	case v == nil || len(v.Logic) == 0:
		return nil, notFound("The flow %s has no logic: its routing model decides", f.Name)
	}
	contentType := "application/yaml"
	if json.Valid(v.Logic) {
		contentType = "application/json"
	}
	return answerDocument(contentType, in.IfNoneMatch, v.Logic)
}

type listFlowsInput struct {
	Page
	Status     string `query:"status" enum:"active,inactive,deprecated"`
	Name       string `query:"name" doc:"Exactly this name" maxLength:"255"`
	Search     string `query:"search" doc:"Part of the name or the description, in any case" maxLength:"255"`
	MetaFlowID string `query:"metaFlowId" maxLength:"255"`
	Sort       string `query:"sort" enum:"name,-name,createdAt,-createdAt,updatedAt,-updatedAt" default:"-createdAt" doc:"A minus sign: from the last to the first"`
}

// flowPlace is a cursor of flows. The sort is in it, so that a cursor of another
// one is refused.
type flowPlace struct {
	Sort string    `json:"s"`
	Name string    `json:"n,omitempty"`
	At   time.Time `json:"t,omitzero"`
	ID   uuid.UUID `json:"i"`
}

func (a *api) listFlows(ctx context.Context, in *listFlowsInput) (*list[FlowSummary], error) {
	by, descending := strings.CutPrefix(in.Sort, "-")
	filter := flows.Filter{
		Accounts: a.accounts(ctx), Status: in.Status, Name: in.Name, Search: in.Search, MetaFlowID: in.MetaFlowID,
		Sort: flows.Sort{By: by, Descending: descending}, Limit: in.Limit + 1,
	}
	var place flowPlace
	if further, err := in.after(&place); err != nil {
		return nil, err
	} else if further {
		if place.Sort != in.Sort {
			return nil, badCursor()
		}
		filter.After = &flows.Place{Name: place.Name, At: place.At, ID: place.ID}
	}
	found, err := flows.List(ctx, a.Pool, filter)
	if err != nil {
		return nil, err
	}
	summaries := make([]FlowSummary, len(found))
	for i := range found {
		summaries[i] = summary(&found[i])
	}
	return listed(in.Page, summaries, func(FlowSummary) any {
		last := filter.Sort.PlaceOf(&found[in.Limit-1])
		return flowPlace{in.Sort, last.Name, last.At, last.ID}
	}), nil
}
