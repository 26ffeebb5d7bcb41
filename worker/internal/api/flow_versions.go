package api

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"math"
	"net/http"

	"github.com/danielgtaylor/huma/v2"
	"github.com/jackc/pgx/v5"
	"go.uber.org/zap"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/flowjson"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/worker/internal/flows"
)

// VersionSummary is a version without its content, as lists have it.
type VersionSummary struct {
	Version    int       `json:"version" example:"3"`
	Active     bool      `json:"active"`
	Definition *string   `json:"definition" doc:"SHA-256 of what is published, in hex; null if it cannot run"`
	Broken     *string   `json:"broken" doc:"Why it cannot run, and cannot be active"`
	Size       int       `json:"size" doc:"Bytes of Flow JSON"`
	HasLogic   bool      `json:"hasLogic"`
	CreatedAt  Timestamp `json:"createdAt"`
}

// Version is a version with its content.
type Version struct {
	VersionSummary
	Logic    *string         `json:"logic" doc:"As it was written"`
	FlowJSON json.RawMessage `json:"flowJson" doc:"Byte for byte, without a byte order mark; a string if it is no JSON"`
}

func registerFlowVersions(a *api) {
	base := func(id, method, path, summary, text string) huma.Operation {
		return huma.Operation{OperationID: id, Method: method, Path: "/api/flows/{flow}/versions" + path, Tags: []string{"Flows"}, Summary: summary, Description: text}
	}
	register(a, base("listFlowVersions", http.MethodGet, "", "List a flow's versions", "Newest first. Versions never change."), Read, a.listVersions)
	register(a, base("getFlowVersion", http.MethodGet, "/{version}", "Get a version", "With its content."), Read, a.getVersion)
	file := base("getFlowVersionJSON", http.MethodGet, "/{version}/flow.json", "Get a version's Flow JSON", "Byte for byte as it was stored.")
	documentFile(&file, "application/json")
	register(a, revalidated(file), Read, a.getVersionJSON)
	activate := base("activateFlowVersion", http.MethodPost, "/{version}/activate", "Make a version the active one",
		"New sessions begin on it; those that are open end on the version they began with. 409 for a version that cannot run.")
	activate.Errors = []int{409, 412}
	register(a, activate, Admin, a.activateVersion)
}

// VersionPath names a version of a flow.
type VersionPath struct {
	FlowPath
	Version int `path:"version" minimum:"1" maximum:"2147483647" example:"3"`
}

type listVersionsInput struct {
	FlowPath
	Page
}

type versionPlace struct {
	Version int `json:"v"`
}

func (a *api) listVersions(ctx context.Context, in *listVersionsInput) (*list[VersionSummary], error) {
	var place versionPlace
	if further, err := in.after(&place); err != nil {
		return nil, err
	} else if further && (place.Version < 1 || place.Version > math.MaxInt32) {
		return nil, badCursor()
	}
	f, err := a.flow(ctx, in.FlowPath)
	if err != nil {
		return nil, err
	}
	found, err := flows.ListVersions(ctx, a.Pool, f, place.Version, in.Limit+1)
	if err != nil {
		return nil, err
	}
	all := make([]VersionSummary, len(found))
	for i, v := range found {
		all[i] = VersionSummary{v.Number, v.Number == f.Active, v.Hash, v.Broken, v.Size, v.Logic, Timestamp(v.CreatedAt)}
	}
	return listed(in.Page, all, func(last VersionSummary) any { return versionPlace{last.Version} }), nil
}

type getVersionInput struct{ VersionPath }

type getVersionJSONInput struct {
	VersionPath
	IfNoneMatch string `header:"If-None-Match" doc:"The ETag of what the client has: 304 if it still holds"`
}

// version reads a flow with one of its versions.
func (a *api) version(ctx context.Context, path VersionPath) (*flows.Flow, *flows.Version, error) {
	f, err := a.flow(ctx, path.FlowPath)
	if err != nil {
		return nil, nil, err
	}
	v, err := flows.GetVersion(ctx, a.Pool, f, path.Version)
	return f, v, noVersion(err, f, path.Version)
}

func noVersion(err error, f *flows.Flow, number int) error {
	if errors.Is(err, flows.ErrNotFound) {
		return notFound("The flow %s has no version %d: its newest is %d", f.Name, number, f.Latest)
	}
	return err
}

// versionEnvelope is an answer with one version.
type versionEnvelope struct {
	Success   bool      `json:"success" doc:"Always true"`
	Data      Version   `json:"data"`
	Timestamp Timestamp `json:"timestamp"`
}

func (e versionEnvelope) writeJSON(w io.Writer) error {
	flowJSON := e.Data.FlowJSON
	e.Data.FlowJSON = nil
	return splice(w, e, flowJSON)
}

type versionAnswer struct {
	Body versionEnvelope
}

func (a *api) getVersion(ctx context.Context, in *getVersionInput) (*versionAnswer, error) {
	f, v, err := a.version(ctx, in.VersionPath)
	if err != nil {
		return nil, err
	}
	var broken *string
	if v.Hash == nil {
		broken = &v.Broken
	}
	return &versionAnswer{versionEnvelope{Success: true, Timestamp: now(), Data: Version{
		VersionSummary{v.Number, v.Number == f.Active, v.Hash, broken, len(v.FlowJSON), len(v.Logic) > 0, Timestamp(v.CreatedAt)},
		logicText(v.Logic), inEnvelope(v),
	}}}, nil
}

func (a *api) getVersionJSON(ctx context.Context, in *getVersionJSONInput) (*document, error) {
	_, v, err := a.version(ctx, in.VersionPath)
	if err != nil {
		return nil, err
	}
	return answerDocument("application/json", in.IfNoneMatch, v.FlowJSON)
}

type activateInput struct {
	VersionPath
	IfMatch string `header:"If-Match" doc:"The flow's ETag that was read: 412 if it was changed meanwhile"`
}

func (a *api) activateVersion(ctx context.Context, in *activateInput) (*flowAnswer, error) {
	var out *flowAnswer
	err := a.changeOne(ctx, in.FlowPath, in.IfMatch, func(tx pgx.Tx, f *flows.Flow) error {
		before, err := contentOf(ctx, tx, f)
		if err != nil {
			return err
		}
		followed := follows(f, before)
		err = f.Activate(ctx, tx, in.Version)
		if errors.Is(err, flows.ErrBroken) {
			return conflict("Version %d of the flow %s cannot run, so it cannot be active", in.Version, f.Name)
		}
		if err := noVersion(err, f, in.Version); err != nil {
			return err
		}
		active, err := activeVersion(ctx, tx, f)
		if err != nil {
			return err
		}
		if document, err := flowjson.Parse(active.FlowJSON); err == nil && followed && document.Version != *f.Label {
			p := f.Properties
			p.Label = &document.Version
			if err := f.Change(ctx, tx, p); err != nil {
				return err
			}
		}
		a.note(ctx, zap.String("account", f.Account), zap.String("flow", f.Name), zap.Int("active_version", f.Active))
		out = answerFlow(http.StatusOK, f, active)
		return nil
	})
	return out, err
}
