package api

import (
	"bytes"
	"fmt"
	"net/url"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/danielgtaylor/huma/v2"
	"github.com/google/uuid"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/flowjson/jsontree"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/worker/internal/flows"
)

// FlowInput documents what a client may send of a flow. flowBody reads it.
type FlowInput struct {
	Name         string  `json:"name,omitempty" maxLength:"255" pattern:"^[A-Za-z0-9][A-Za-z0-9._-]*$" doc:"Unique in the account; the endpoint's path ends with it. POST must have it" example:"csat-feedback"`
	FlowJSON     any     `json:"flowJson,omitempty" doc:"The Flow JSON, as an object or as a string that holds the document. Kept byte for byte. POST and PUT must have it. flow_json is the same"`
	Logic        any     `json:"logic,omitempty" doc:"The logic, as a string of YAML or JSON, or as an object. Null: none, the routing model decides"`
	Version      *string `json:"version,omitempty" nullable:"true" maxLength:"255" doc:"Free text. Left out: the version that the Flow JSON declares" example:"7.3"`
	Status       string  `json:"status,omitempty" enum:"active,inactive,deprecated" doc:"inactive: nobody is served. deprecated: served, and marked as old. Default active"`
	Description  *string `json:"description,omitempty" nullable:"true" maxLength:"1000"`
	MetaFlowID   *string `json:"metaFlowId,omitempty" nullable:"true" maxLength:"255" doc:"The flow's id at Meta. meta_flow_id is the same" example:"1234567890"`
	TemplateName *string `json:"templateName,omitempty" nullable:"true" maxLength:"255" doc:"template_name is the same"`
	CallbackURL  *string `json:"callbackUrl,omitempty" nullable:"true" maxLength:"2048" format:"uri" doc:"Stored and returned; answers are delivered to CALLBACK_WEBHOOK_URL. callback_url is the same"`
}

// flowBody is a body with what it holds of a flow. Only what the client sent is
// there: for a patch, left out and null differ.
type flowBody struct {
	text   []byte
	fields map[string]*jsontree.Node
}

// Schema implements huma.SchemaProvider.
func (flowBody) Schema(r huma.Registry) *huma.Schema {
	return r.Schema(reflect.TypeFor[FlowInput](), true, "")
}

// otherNames are those of whatsapp-flows-server's database and README.
var otherNames = map[string]string{
	"flow_json": "flowJson", "meta_flow_id": "metaFlowId", "template_name": "templateName", "callback_url": "callbackUrl",
}

// readOnly are fields of our answers: a client may send back what it got.
var readOnly = []string{"id", "account", "activeVersion", "latestVersion", "definition", "createdAt", "updatedAt"}

var writable = []string{"name", "flowJson", "logic", "version", "status", "description", "metaFlowId", "templateName", "callbackUrl"}

func (b *flowBody) readBody(text []byte) error {
	tree, err := parseBody(text)
	if err != nil {
		return err
	}
	if tree.Kind != jsontree.Object {
		return fmt.Errorf("the body is a JSON %s, expected an object with %s", tree.Kind, strings.Join(writable, ", "))
	}
	// The buffer that text is in is used again.
	*b = flowBody{text: bytes.Clone(text), fields: make(map[string]*jsontree.Node, len(tree.Members))}
	for _, m := range tree.Members {
		name := m.Name
		if known, other := otherNames[name]; other {
			name = known
		}
		if !slices.Contains(writable, name) && !slices.Contains(readOnly, name) {
			return fmt.Errorf("there is no field %.64q, expected %s", m.Name, strings.Join(writable, ", "))
		}
		if b.fields[name] != nil {
			return fmt.Errorf("the field %s comes twice", name)
		}
		b.fields[name] = m.Value
	}
	return nil
}

// has says whether the client sent a field, null included.
func (b *flowBody) has(field string) bool { return b.fields[field] != nil }

// flowJSON is the document as the client wrote it: its part of the body, or what
// a string holds. nil if it was left out.
func (b *flowBody) flowJSON() ([]byte, error) {
	n := b.fields["flowJson"]
	switch {
	case n == nil:
		return nil, nil
	case n.Kind == jsontree.String:
		return []byte(n.Text), nil
	case n.Kind == jsontree.Object:
		return b.text[n.Start:n.End], nil
	}
	return nil, badRequest("flowJson is a JSON %s, expected an object, or a string that holds the document", n.Kind)
}

// logic is the logic as the client wrote it; nil for none.
func (b *flowBody) logic() ([]byte, error) {
	n := b.fields["logic"]
	switch {
	case n == nil || n.Kind == jsontree.Null:
		return nil, nil
	case n.Kind == jsontree.Object:
		return b.text[n.Start:n.End], nil
	case n.Kind == jsontree.String:
		if strings.TrimSpace(n.Text) == "" {
			return nil, nil
		}
		return []byte(n.Text), nil
	}
	return nil, badRequest("logic is a JSON %s, expected a string of YAML or JSON, an object, or null", n.Kind)
}

// properties are those of p, with what the client sent in their place.
func (b *flowBody) properties(p flows.Properties) (flows.Properties, error) {
	var err error
	if b.has("name") {
		if p.Name, err = b.name(); err != nil {
			return p, err
		}
	}
	if n := b.fields["status"]; n != nil {
		known := []string{flows.Active, flows.Inactive, flows.Deprecated}
		if n.Kind != jsontree.String || !slices.Contains(known, n.Text) {
			return p, badRequest("status is %s, expected %s", shown(n), strings.Join(known, ", "))
		}
		p.Status = n.Text
	}
	for _, f := range []struct {
		name    string
		value   **string
		longest int
	}{
		{"version", &p.Label, 255}, {"description", &p.Description, 1000}, {"metaFlowId", &p.MetaFlowID, 255},
		{"templateName", &p.TemplateName, 255}, {"callbackUrl", &p.CallbackURL, 2048},
	} {
		if n := b.fields[f.name]; n != nil {
			if *f.value, err = optionalText(f.name, n, f.longest); err != nil {
				return p, err
			}
		}
	}
	if b.has("callbackUrl") && p.CallbackURL != nil {
		err = checkCallbackURL(*p.CallbackURL)
	}
	return p, err
}

// flowName is what fits into the path of an endpoint and a key of Redis.
var flowName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]*$`)

func (b *flowBody) name() (string, error) {
	n := b.fields["name"]
	switch {
	case n.Kind != jsontree.String || !flowName.MatchString(n.Text):
		return "", badRequest("name is %s, expected letters, digits, dots, dashes and underscores, such as csat-feedback: the endpoint's path ends with it", shown(n))
	case len(n.Text) > 255:
		return "", badRequest("name has %d characters, expected at most 255", len(n.Text))
	case uuid.Validate(n.Text) == nil:
		return "", badRequest("name is a UUID, which would be taken for the id of a flow: choose another one")
	}
	return n.Text, nil
}

func optionalText(name string, n *jsontree.Node, longest int) (*string, error) {
	if n.Kind == jsontree.Null {
		return nil, nil
	}
	switch {
	case n.Kind != jsontree.String:
		return nil, badRequest("%s is a JSON %s, expected a string or null", name, n.Kind)
	case utf8.RuneCountInString(n.Text) > longest:
		return nil, badRequest("%s has %d characters, expected at most %d", name, utf8.RuneCountInString(n.Text), longest)
	case strings.ContainsRune(n.Text, 0):
		return nil, badRequest("%s holds the character U+0000, which the database cannot store", name)
	}
	return &n.Text, nil
}

// checkCallbackURL does not repeat the URL: it often is a secret itself.
func checkCallbackURL(value string) error {
	u, err := url.Parse(value)
	if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Hostname() == "" {
		return badRequest("callbackUrl is no URL of http or https, expected one such as https://example.com/hooks/flows")
	}
	return nil
}

// shown is a value as a message repeats it.
func shown(n *jsontree.Node) string {
	if n.Kind == jsontree.String {
		return fmt.Sprintf("%.64q", n.Text)
	}
	return "a JSON " + n.Kind.String()
}

// forAccount refuses a body that names another account than the one written to.
func (b *flowBody) forAccount(account string) error {
	if n := b.fields["account"]; n != nil && n.Text != account {
		return badRequest("The body names the account %s, and this goes to the account %s: add ?account=", shown(n), account)
	}
	return nil
}
