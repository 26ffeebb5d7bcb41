package api

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/flow"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/flow/logic"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/flowjson/validate"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/worker/internal/flows"
)

// maxFlowBody is the size of a body with a flow: a Flow JSON of 10 MiB, which is
// Meta's limit, and as much again as a string needs for its escapes.
const maxFlowBody = 12 << 20

// Mistake is one thing that is wrong, in the shape of Meta's validation_errors.
type Mistake struct {
	Error       string    `json:"error" doc:"Meta's code for a mistake in Flow JSON; INVALID_LOGIC; NOT_RUNNABLE" example:"INVALID_PROPERTY_KEY"`
	ErrorType   string    `json:"error_type" enum:"FLOW_JSON_ERROR,LOGIC_ERROR,ENGINE_ERROR"`
	Message     string    `json:"message" example:"the screen id is missing"`
	LineStart   int       `json:"line_start,omitempty" doc:"From 1"`
	LineEnd     int       `json:"line_end,omitempty"`
	ColumnStart int       `json:"column_start,omitempty" doc:"From 1, in characters"`
	ColumnEnd   int       `json:"column_end,omitempty" doc:"The column after the last character"`
	Pointers    []Pointer `json:"pointers,omitempty" nullable:"false"`
}

// Pointer is one place that a mistake is about.
type Pointer struct {
	LineStart   int    `json:"line_start"`
	LineEnd     int    `json:"line_end"`
	ColumnStart int    `json:"column_start"`
	ColumnEnd   int    `json:"column_end"`
	Path        string `json:"path,omitempty" example:"screens[0].layout.children[2].label"`
}

// Validation is what is to be said of a flow.
type Validation struct {
	Valid     bool      `json:"valid" doc:"Meta would accept it, as far as is known, and it runs here"`
	Errors    []Mistake `json:"errors" nullable:"false"`
	Warnings  []Mistake `json:"warnings" nullable:"false" doc:"What Meta accepts and an author should know"`
	Truncated bool      `json:"truncated" doc:"There are more than these"`
	Notes     []string  `json:"notes" nullable:"false" doc:"What of the flow will not work here as its author may expect"`
	Upstreams []string  `json:"upstreams" nullable:"false" doc:"Upstreams that its logic fetches from: the Caddyfile must have them"`
}

// checked is a flow with what was found about it.
type checked struct {
	flows.Content
	Validation
}

// check judges a flow when its turn comes.
func (a *api) check(ctx context.Context, flowJSON, rules []byte) (checked, error) {
	giveBack, err := a.checks.take(ctx)
	if err != nil {
		return checked{}, err
	}
	defer giveBack()
	return check(flowJSON, rules), nil
}

// check judges a flow: as Meta would, and as the engine does.
func check(flowJSON, rules []byte) checked {
	report := validate.Flow(flowJSON)
	c := checked{
		Content: flows.Content{FlowJSON: flowJSON, Logic: rules},
		Validation: Validation{
			Errors: mistakes(report.Errors), Warnings: mistakes(report.Warnings), Truncated: report.Truncated,
			Notes: []string{}, Upstreams: []string{},
		},
	}
	def, err := flow.Load(flowJSON, rules)
	var inLogic *logic.Errors
	switch {
	case err == nil:
		c.Definition = def
		c.Notes = append(c.Notes, def.Warnings()...)
		c.Upstreams = append(c.Upstreams, def.Upstreams()...)
	case errors.As(err, &inLogic):
		c.Broken = err.Error()
		for _, p := range inLogic.Problems {
			c.Errors = append(c.Errors, Mistake{
				Error: "INVALID_LOGIC", ErrorType: "LOGIC_ERROR", Message: p.Message,
				LineStart: p.Line, LineEnd: p.Line, ColumnStart: p.Column, ColumnEnd: p.Column,
				Pointers: []Pointer{{LineStart: p.Line, LineEnd: p.Line, ColumnStart: p.Column, ColumnEnd: p.Column, Path: p.Path}},
			})
		}
		c.Truncated = c.Truncated || inLogic.More > 0
	default:
		c.Broken = err.Error()
		if report.Valid() { // else the report says it better
			c.Errors = append(c.Errors, Mistake{Error: "NOT_RUNNABLE", ErrorType: "ENGINE_ERROR", Message: err.Error()})
		}
	}
	c.Valid = len(c.Errors) == 0
	return c
}

func mistakes(problems []validate.Problem) []Mistake {
	all := make([]Mistake, 0, len(problems))
	for _, p := range problems {
		m := Mistake{Error: string(p.Error), ErrorType: p.ErrorType, Message: p.Message,
			LineStart: p.LineStart, LineEnd: p.LineEnd, ColumnStart: p.ColumnStart, ColumnEnd: p.ColumnEnd}
		for _, at := range p.Pointers {
			m.Pointers = append(m.Pointers, Pointer{at.LineStart, at.LineEnd, at.ColumnStart, at.ColumnEnd, at.Path})
		}
		all = append(all, m)
	}
	return all
}

// refusal is the error for a flow that is not valid; nil for one that is.
func (c *checked) refusal() error {
	if c.Valid {
		return nil
	}
	code, what := "INVALID_LOGIC", "logic"
	for _, m := range c.Errors {
		if m.ErrorType != "LOGIC_ERROR" {
			code, what = "INVALID_FLOW_JSON", "Flow JSON"
		}
	}
	first := c.Errors[0]
	where := ""
	if first.LineStart > 0 {
		where = fmt.Sprintf("line %d, column %d: ", first.LineStart, first.ColumnStart)
	}
	if len(first.Pointers) > 0 && first.Pointers[0].Path != "" {
		where += first.Pointers[0].Path + ": "
	}
	count := "1 mistake"
	if n := len(c.Errors); n > 1 {
		count = fmt.Sprintf("%d mistakes, first", n)
	}
	return unprocessable(code, "The %s has %s: %s%s", what, count, where, strings.ToValidUTF8(first.Message, "�")).with(c.Errors)
}

func registerFlowCheck(a *api) {
	register(a, huma.Operation{
		OperationID: "validateFlow", Method: http.MethodPost, Path: "/api/flows/validate", Tags: []string{"Flows"},
		Summary: "Validate a flow without storing it", Description: "The answer is 200 also for a flow with mistakes: `valid` tells. The rules and codes are Meta's.",
		MaxBodyBytes: maxFlowBody, SkipValidateBody: true, Middlewares: huma.Middlewares{a.oneLargeBody}, Errors: []int{http.StatusRequestEntityTooLarge, http.StatusUnsupportedMediaType},
	}, Read, a.validateFlow)
}

type validateFlowInput struct {
	Body flowBody
}

func (a *api) validateFlow(ctx context.Context, in *validateFlowInput) (*answer[Validation], error) {
	flowJSON, rules, err := in.Body.content()
	if err != nil {
		return nil, err
	}
	c, err := a.check(ctx, flowJSON, rules)
	return ok(c.Validation), err
}

// content is a whole flow, which must be there.
func (b *flowBody) content() (flowJSON, rules []byte, err error) {
	if flowJSON, err = b.flowJSON(); err != nil {
		return nil, nil, err
	}
	if flowJSON == nil {
		return nil, nil, badRequest("flowJson is missing, expected the Flow JSON as an object, or as a string that holds the document")
	}
	rules, err = b.logic()
	return flowJSON, rules, err
}
