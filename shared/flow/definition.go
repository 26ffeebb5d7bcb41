package flow

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/flow/logic"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/flowjson"
)

// documentVersion is the version of the published document.
const documentVersion = 1

// Definition is what one version of a flow does. It is immutable and safe for
// use by many goroutines.
type Definition struct {
	flow     *flowjson.Document
	flowJSON []byte
	logic    []byte
	rules    *logic.Rules // nil without logic
	document []byte
	hash     string
	entries  []string
	before   map[string][]string                   // screens with an edge to this one
	empties  map[string]map[string]json.RawMessage // typed empties by screen and data key
	lost     map[string][]field                    // see StatelessIncomplete
	warnings []string
}

// document is the published form of a definition.
type document struct {
	V        int    `json:"v"`
	FlowJSON string `json:"flow_json"`
	Logic    string `json:"logic,omitempty"`
}

// Load reads a Flow JSON and its logic, YAML or JSON. rules is nil, or blank, for
// a flow that follows its routing model. What is wrong with the logic is a
// *logic.Errors with every mistake.
func Load(flowJSON, rules []byte) (*Definition, error) {
	parsed, err := flowjson.Parse(flowJSON)
	if err != nil {
		return nil, err
	}
	if len(bytes.TrimSpace(rules)) == 0 {
		rules = nil
	}
	blob, _, err := EncodeDocument(flowJSON, rules)
	if err != nil {
		return nil, err
	}
	return build(parsed, bytes.Clone(flowJSON), bytes.Clone(rules), blob)
}

// EncodeDocument makes what Document and Hash return of a definition, without
// reading the flow: for one that was loaded before, and is known by its hash.
func EncodeDocument(flowJSON, rules []byte) (blob []byte, hash string, err error) {
	if len(bytes.TrimSpace(rules)) == 0 {
		rules = nil
	}
	blob, err = encode(document{V: documentVersion, FlowJSON: string(flowJSON), Logic: string(rules)})
	if err != nil {
		return nil, "", fmt.Errorf("encoding the document of a flow: %w", err)
	}
	return blob, hashOf(blob), nil
}

// ParseDocument reads what Document made, possibly in another version of this
// program. The hash of the result is that of blob as it is.
func ParseDocument(blob []byte) (*Definition, error) {
	var doc document
	if err := json.Unmarshal(blob, &doc); err != nil {
		return nil, fmt.Errorf("the document of a flow is not the JSON of one: %w", describe(blob, err))
	}
	if doc.V != documentVersion {
		return nil, fmt.Errorf("the document of a flow has version %d, expected %d: it was published by another version of the worker", doc.V, documentVersion)
	}
	d, err := Load([]byte(doc.FlowJSON), []byte(doc.Logic))
	if err != nil {
		return nil, err
	}
	d.document = bytes.Clone(blob)
	d.hash = hashOf(blob)
	return d, nil
}

func build(parsed *flowjson.Document, flowJSON, rules, blob []byte) (*Definition, error) {
	d := &Definition{
		flow:     parsed,
		flowJSON: flowJSON,
		logic:    rules,
		document: blob,
		hash:     hashOf(blob),
		before:   make(map[string][]string, len(parsed.Screens)),
		empties:  make(map[string]map[string]json.RawMessage, len(parsed.Screens)),
	}
	for i := range parsed.Screens {
		s := &parsed.Screens[i]
		for _, next := range parsed.RoutingModel[s.ID] {
			d.before[next] = append(d.before[next], s.ID)
		}
		d.empties[s.ID] = emptiesOf(s)
	}
	for i := range parsed.Screens {
		if id := parsed.Screens[i].ID; len(d.before[id]) == 0 {
			d.entries = append(d.entries, id)
		}
	}
	if len(d.entries) == 0 {
		return nil, errors.New("routing_model: every screen has an edge leading to it, so the flow has no entry screen: remove the edges that lead back")
	}
	if len(rules) > 0 {
		var err error
		if d.rules, err = logic.Compile(rules, parsed, d.entries); err != nil {
			return nil, err
		}
	}
	d.lost = d.findLost()
	d.warnings = d.findWarnings()
	return d, nil
}

func hashOf(blob []byte) string {
	sum := sha256.Sum256(blob)
	return hex.EncodeToString(sum[:])
}

// Hash identifies the definition by its content: SHA-256 of Document, in
// lower-case hex.
func (d *Definition) Hash() string { return d.hash }

// Document is the definition as it is published: JSON
// {"v":1,"flow_json":"…","logic":"…"}, logic left out when there is none. The
// same Flow JSON gives the same bytes. Callers must not change them.
func (d *Definition) Document() []byte { return d.document }

// Logic is the logic as it was written, byte for byte; empty for a flow that
// follows its routing model. Callers must not change it.
func (d *Definition) Logic() []byte { return d.logic }

// Upstreams are the names of the upstreams its logic fetches from, sorted.
func (d *Definition) Upstreams() []string {
	if d.rules == nil {
		return nil
	}
	return slices.Clone(d.rules.Upstreams())
}

// Flow is the parsed Flow JSON. Callers must not change it.
func (d *Definition) Flow() *flowjson.Document { return d.flow }

// FlowJSON is the Flow JSON, byte for byte. Callers must not change it.
func (d *Definition) FlowJSON() []byte { return d.flowJSON }

// Warnings say, in full sentences and in a stable order, what of the flow will
// not work as its author may expect.
func (d *Definition) Warnings() []string { return slices.Clone(d.warnings) }

// EntryScreens are the screens no edge leads to, in the order of the document.
func (d *Definition) EntryScreens() []string { return slices.Clone(d.entries) }

// HasScreen says whether the flow has a screen of that id.
func (d *Definition) HasScreen(id string) bool { return d.flow.Screen(id) != nil }

// IsEntry says whether a flow may begin on that screen.
func (d *Definition) IsEntry(id string) bool { return slices.Contains(d.entries, id) }

// Ends says whether going on from that screen ends the flow: it is terminal, or
// no edge leads on from it.
func (d *Definition) Ends(id string) bool {
	s := d.flow.Screen(id)
	return s != nil && (s.Terminal || len(d.flow.RoutingModel[id]) == 0)
}

// Joined says whether an edge joins two screens, in either direction.
func (d *Definition) Joined(a, b string) bool {
	return slices.Contains(d.flow.RoutingModel[a], b) || slices.Contains(d.flow.RoutingModel[b], a)
}

// entryFor is the screen INIT shows: the one the message asked for if it is an
// entry, else the first entry.
func (d *Definition) entryFor(req *Request) string {
	if d.IsEntry(req.Screen) {
		return req.Screen
	}
	return d.entries[0]
}
