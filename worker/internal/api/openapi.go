package api

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"reflect"
	"strconv"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/flowjson/jsontree"
)

const description = `Flows, and what was collected with them.

Send the header ` + "`Authorization: Bearer <token>`" + ` with each request.
An installation may have several accounts. Each path below ` + "`/api/`" + ` is there a second time for one account,
as ` + "`/api/accounts/{account}/…`" + `; or add ` + "`?account=`" + `. Without either, lists are of every account the token may see,
and writes, and names of flows, are of the token's only account, else of the account ` + "`default`" + `.`

func (a *api) humaConfig() huma.Config {
	schemas := huma.NewMapRegistry("#/components/schemas/", schemaName)
	schemas.Schema(reflect.TypeFor[problem](), true, "Error")
	return huma.Config{
		OpenAPI: &huma.OpenAPI{
			OpenAPI: "3.1.0",
			Info:    &huma.Info{Title: "WhatsApp Flows", Version: a.Version, Description: description},
			Servers: []*huma.Server{{URL: "/"}},
			Components: &huma.Components{
				Schemas: schemas,
				SecuritySchemes: map[string]*huma.SecurityScheme{
					"token": {Type: "http", Scheme: "bearer", Description: "A token of API_TOKEN or API_TOKENS"},
				},
			},
		},
		Formats:       map[string]huma.Format{"application/json": jsonFormat, "json": jsonFormat},
		DefaultFormat: "application/json",
	}
}

var jsonFormat = huma.Format{Marshal: marshal, Unmarshal: unmarshal}

// bodyReader is a body that reads itself: one whose bytes count.
type bodyReader interface{ readBody(text []byte) error }

// unmarshal says where a body stops being JSON.
func unmarshal(text []byte, v any) error {
	if body, ok := v.(bodyReader); ok {
		return body.readBody(text)
	}
	if err := json.Unmarshal(text, v); err != nil {
		var wrong *json.UnmarshalTypeError
		if errors.As(err, &wrong) {
			return fmt.Errorf("%s is a JSON %s, expected %s", wrong.Field, wrong.Value, wrong.Type)
		}
		if _, syntax := parseBody(text); syntax != nil {
			return syntax
		}
		return err // what a value says of itself, such as a time that is none
	}
	return nil
}

// parseBody reads a body that must be JSON.
func parseBody(text []byte) (*jsontree.Node, error) {
	tree, err := jsontree.Parse(text)
	var syntax *jsontree.SyntaxError
	if errors.As(err, &syntax) {
		line, column := jsontree.NewLines(text).Place(syntax.Offset)
		return nil, fmt.Errorf("the body is no JSON: line %d, column %d: %s", line, column, syntax.Message)
	}
	return tree, err
}

// documentOperation adds what every operation has.
func documentOperation(op *huma.Operation, scope Scope) {
	op.Security = []map[string][]string{{"token": {}}}
	if scope == Admin {
		op.Description = strings.TrimSpace(op.Description + "\n\nNeeds a token with the scope admin.")
	}
	if op.Path != "/api/accounts" {
		op.Parameters = append(op.Parameters, &huma.Param{
			Name: "account", In: "query", Description: "Only this account", Schema: &huma.Schema{Type: huma.TypeString},
		})
	}
	if op.BodyReadTimeout == 0 {
		op.BodyReadTimeout = bodyTime
	}
	if op.Responses == nil {
		op.Responses = map[string]*huma.Response{}
	}
	documentErrors(op)
}

// documentErrors lists the errors that any operation may answer with, and those
// of op.Errors.
func documentErrors(op *huma.Operation) {
	examples := []*problem{
		badRequest(`There is no parameter "colour" here, expected account, cursor, limit`),
		unauthorized("Invalid authentication token"),
		forbidden("This token is not for the account shop"),
		internal(),
		unavailable("The database does not answer: try again in a moment"),
	}
	if strings.Contains(op.Path, "{") {
		examples = append(examples, notFound("Flow with identifier 'csat' not found in the account default"))
	}
	for _, status := range op.Errors {
		examples = append(examples, exampleOf(status))
	}
	op.Errors = nil // huma would document its own 422 beside them
	for _, p := range examples {
		op.Responses[strconv.Itoa(p.status)] = &huma.Response{
			Description: http.StatusText(p.status),
			Content: map[string]*huma.MediaType{"application/json": {
				Schema:  &huma.Schema{Ref: "#/components/schemas/Error"},
				Example: map[string]any{"success": false, "error": p.Fault, "timestamp": "2026-11-23T20:07:48.123Z"},
			}},
		}
	}
}

func exampleOf(status int) *problem {
	switch status {
	case http.StatusConflict:
		return conflict("Flow with name 'csat' already exists")
	case http.StatusPreconditionFailed:
		return preconditionFailed("The flow was changed meanwhile: read it again")
	case http.StatusRequestEntityTooLarge:
		return newProblem(status, "PAYLOAD_TOO_LARGE", "The body is too large: limit=12582912 bytes")
	case http.StatusUnsupportedMediaType:
		return checkContentType("text/plain")
	case http.StatusUnprocessableEntity:
		at := Pointer{LineStart: 12, LineEnd: 12, ColumnStart: 71, ColumnEnd: 79, Path: "screens[0].layout.children[0].colour"}
		return unprocessable("INVALID_FLOW_JSON", "The Flow JSON has 1 mistake: line 12, column 71: %s: TextInput has no property colour", at.Path).
			with([]Mistake{{Error: "INVALID_PROPERTY_KEY", ErrorType: "FLOW_JSON_ERROR", Message: "TextInput has no property colour",
				LineStart: 12, LineEnd: 12, ColumnStart: 71, ColumnEnd: 79, Pointers: []Pointer{at}}})
	}
	return newProblem(status, strings.ToUpper(strings.ReplaceAll(http.StatusText(status), " ", "_")), "%s", http.StatusText(status))
}

// specification is the OpenAPI document, the same bytes for the same build.
func (a *api) specification() []byte {
	compact, err := json.Marshal(a.huma.OpenAPI())
	// Requests are checked strictly, but a client made from this document must
	// not break when an answer gets one more field.
	compact = bytes.ReplaceAll(compact, []byte(`"additionalProperties":false,`), nil)
	var out bytes.Buffer
	if err == nil {
		err = json.Indent(&out, compact, "", "  ")
	}
	if err != nil {
		panic(err) // what is registered decides it, not what comes
	}
	out.WriteByte('\n')
	return out.Bytes()
}
