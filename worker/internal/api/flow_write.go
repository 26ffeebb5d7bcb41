package api

import (
	"context"
	"errors"
	"net/http"
	"net/url"

	"github.com/danielgtaylor/huma/v2"
	"github.com/jackc/pgx/v5"
	"go.uber.org/zap"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/flowjson"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/worker/internal/flows"
)

const aboutContent = `Flow JSON and logic are validated, and refused with 422 if Meta would refuse them or they cannot run here; the details are in the shape of Meta's validation_errors. ` +
	"`?force=true` stores them nevertheless. A flow that cannot run at all becomes a version that is not active: what is broken never replaces what works."

func registerFlowWrites(a *api) {
	base := func(id, method, path, summary, text string, errs ...int) huma.Operation {
		return huma.Operation{
			OperationID: id, Method: method, Path: path, Tags: []string{"Flows"}, Summary: summary, Description: text,
			MaxBodyBytes: maxFlowBody, SkipValidateBody: true, Middlewares: huma.Middlewares{a.oneLargeBody}, Errors: errs,
		}
	}
	const one = "/api/flows/{flow}"
	create := base("createFlow", http.MethodPost, "/api/flows", "Create a flow", aboutContent, 409, 413, 415, 422)
	create.DefaultStatus = http.StatusCreated
	create.RequestBody = exampleBody(flowExample)
	register(a, create, Admin, a.createFlow)
	register(a, base("replaceFlow", http.MethodPut, one, "Replace a flow",
		"What is left out gets its default, the name excepted. A content that differs from the active one becomes a new version. "+aboutContent, 409, 412, 413, 415, 422),
		Admin, a.replaceFlow)
	register(a, base("changeFlow", http.MethodPatch, one, "Change parts of a flow",
		"What is left out stays as it is, null clears. A change of flowJson or logic makes a new version. "+aboutContent, 409, 412, 413, 415, 422),
		Admin, a.patchFlow)
	remove := base("deleteFlow", http.MethodDelete, one, "Delete a flow",
		"The edges stop serving it and its name is free again. Its versions, sessions and answers stay.", 412)
	remove.DefaultStatus = http.StatusNoContent
	register(a, remove, Admin, a.deleteFlow)
}

func exampleBody(example any) *huma.RequestBody {
	return &huma.RequestBody{Content: map[string]*huma.MediaType{"application/json": {Example: example}}}
}

// flowExample is a flow that can be created as it is.
var flowExample = map[string]any{
	"name": "csat-feedback", "description": "How was it?",
	"flowJson": map[string]any{
		"version": "7.3",
		"screens": []any{map[string]any{
			"id": "RATING", "title": "Your opinion", "terminal": true, "success": true,
			"layout": map[string]any{"type": "SingleColumnLayout", "children": []any{
				map[string]any{"type": "TextInput", "name": "comment", "label": "Comment", "required": true},
				map[string]any{"type": "Footer", "label": "Send", "on-click-action": map[string]any{
					"name": "complete", "payload": map[string]any{"comment": "${form.comment}"}}},
			}},
		}},
	},
}

// Forced is what the input of an operation embeds that stores content.
type Forced struct {
	Force bool `query:"force" doc:"Store the content although it is not valid"`
}

type createFlowInput struct {
	Forced
	IfNoneMatch string `header:"If-None-Match" doc:"The value * is understood: POST never overwrites a flow"`
	Body        flowBody
}

// FlowPath names a flow.
type FlowPath struct {
	Flow string `path:"flow" doc:"Id, or name in the account" example:"csat-feedback"`
}

type changeFlowInput struct {
	FlowPath
	Forced
	IfMatch string `header:"If-Match" doc:"The ETag that was read: 412 if the flow was changed meanwhile"`
	Body    flowBody
}

func (a *api) createFlow(ctx context.Context, in *createFlowInput) (*flowAnswer, error) {
	account, err := a.account(ctx)
	if err != nil {
		return nil, err
	}
	if err := in.Body.forAccount(account); err != nil {
		return nil, err
	}
	if !in.Body.has("name") {
		return nil, badRequest("name is missing, expected letters, digits, dots, dashes and underscores, such as csat-feedback")
	}
	p, err := in.Body.properties(flows.Properties{Status: flows.Active})
	if err != nil {
		return nil, err
	}
	flowJSON, rules, err := in.Body.content()
	if err != nil {
		return nil, err
	}
	c, err := a.check(ctx, flowJSON, rules)
	if err != nil {
		return nil, err
	}
	if err := c.refusal(); err != nil && !in.Force {
		return nil, err
	}
	if p.Label == nil {
		p.Label = declaredVersion(&c)
	}
	var out *flowAnswer
	err = a.change(ctx, func(tx pgx.Tx) error {
		f, err := flows.Create(ctx, tx, account, p)
		if err != nil {
			return takenName(err, p.Name)
		}
		out, err = a.store(ctx, tx, f, &c, http.StatusCreated)
		return err
	})
	if err != nil {
		return nil, err
	}
	out.Location = "/api/flows/" + url.PathEscape(out.Body.Data.ID)
	return out, nil
}

func (a *api) replaceFlow(ctx context.Context, in *changeFlowInput) (*flowAnswer, error) {
	flowJSON, rules, err := in.Body.content()
	if err != nil {
		return nil, badRequest("%s. To change only some fields use PATCH", err.Error())
	}
	return a.edit(ctx, in, func(_ flows.Queryer, f *flows.Flow) (e edition, err error) {
		e.content = &flows.Content{FlowJSON: flowJSON, Logic: rules}
		e.Properties, err = in.Body.properties(flows.Properties{Name: f.Name, Status: flows.Active})
		if e.Label == nil {
			e.Label, e.follows = f.Label, true // what cannot run declares nothing
		}
		return e, err
	})
}

func (a *api) patchFlow(ctx context.Context, in *changeFlowInput) (*flowAnswer, error) {
	if len(in.Body.fields) == 0 {
		return nil, badRequest("At least one field must be provided for update")
	}
	return a.edit(ctx, in, func(db flows.Queryer, f *flows.Flow) (e edition, err error) {
		e.Properties, err = in.Body.properties(f.Properties)
		if err != nil || !in.Body.has("flowJson") && !in.Body.has("logic") {
			return e, err
		}
		before, err := contentOf(ctx, db, f)
		if err != nil {
			return e, err
		}
		e.follows = !in.Body.has("version") && follows(f, before)
		e.content = &before
		if in.Body.has("flowJson") {
			if e.content.FlowJSON, err = in.Body.flowJSON(); err != nil {
				return e, err
			}
		}
		if in.Body.has("logic") {
			e.content.Logic, err = in.Body.logic()
		}
		return e, err
	})
}

// contentOf is that of the active version, else of the newest, if there is any.
func contentOf(ctx context.Context, db flows.Queryer, f *flows.Flow) (flows.Content, error) {
	number := f.Active
	if number == 0 {
		number = f.Latest
	}
	v, err := flows.GetVersion(ctx, db, f, number)
	if errors.Is(err, flows.ErrNotFound) {
		return flows.Content{}, nil
	}
	if err != nil {
		return flows.Content{}, err
	}
	return v.Content, nil
}

// follows says whether a flow's label is the version that its Flow JSON declares:
// then it stays so.
func follows(f *flows.Flow, content flows.Content) bool {
	document, err := flowjson.Parse(content.FlowJSON)
	return err == nil && f.Label != nil && *f.Label == document.Version
}

// declaredVersion is the version that a Flow JSON declares; nil if it cannot run.
func declaredVersion(c *checked) *string {
	if c.Definition == nil {
		return nil
	}
	return &c.Definition.Flow().Version
}

type deleteFlowInput struct {
	FlowPath
	IfMatch string `header:"If-Match" doc:"The ETag that was read: 412 if the flow was changed meanwhile"`
}

func (a *api) deleteFlow(ctx context.Context, in *deleteFlowInput) (*struct{}, error) {
	return nil, a.changeOne(ctx, in.FlowPath, in.IfMatch, func(tx pgx.Tx, f *flows.Flow) error {
		a.note(ctx, zap.String("account", f.Account), zap.String("flow", f.Name))
		return f.Delete(ctx, tx)
	})
}
