// Package flowjson reads Flow JSON, the document in which WhatsApp Flows
// describe their screens (Meta's page "Flow JSON", versions 2.1 to 7.3).
//
// Parse checks the structure that the rest of this project relies on: screen
// ids, data models, the routing model, where actions and data references stand.
// It is not the full validation that Meta's publisher does.
package flowjson

import "encoding/json"

// Success is the reserved screen id that ends a flow.
const Success = "SUCCESS"

// Document is a parsed Flow JSON.
type Document struct {
	Version        string // "7.3"
	DataAPIVersion string // "3.0", "4.0"; empty in a flow without endpoint
	Screens        []Screen
	// RoutingModel maps each screen to the screens that may follow it, forward
	// edges only. Every screen has an entry, possibly empty.
	RoutingModel map[string][]string
	// Derived says that the document has no routing_model and that RoutingModel
	// follows its navigate actions, as Meta generates it.
	Derived bool

	index map[string]int
}

// Screen returns the screen of that id, or nil.
func (d *Document) Screen(id string) *Screen {
	if i, ok := d.index[id]; ok {
		return &d.Screens[i]
	}
	return nil
}

// Screen is one screen of a flow.
type Screen struct {
	ID            string
	Title         string
	Terminal      bool
	Success       bool // of a terminal screen: it ends the flow well; true unless the document says otherwise
	RefreshOnBack bool
	Sensitive     []string
	// Data is the screen's data model by key; nil when the screen declares none.
	Data map[string]*Schema
	// Keys are the keys of Data, sorted.
	Keys []string
	// Children are the components of the layout.
	Children []*Component
	// Actions are all actions of the screen in the order of the document.
	Actions []Action
	// Feeds tells, by key of Data, which components cannot do with an empty
	// value of it.
	Feeds map[string]Feed
}

// Component is one component with all its attributes as they stand.
type Component struct {
	Type       string
	Name       string // empty for components without a name
	Attributes map[string]json.RawMessage
	// Children are the components inside: those of a Form, and those of every
	// branch of an If or Switch.
	Children []*Component
}

// The names of actions.
const (
	Navigate     = "navigate"
	Complete     = "complete"
	DataExchange = "data_exchange"
	UpdateData   = "update_data"
	OpenURL      = "open_url"
)

// Action is one action of a component or of one of its items.
type Action struct {
	Name      string // navigate, complete, data_exchange, update_data, open_url
	Attribute string // on-click-action, on-select-action, on-unselect-action
	Component string // type of the component it stands in
	Input     string // name of that component, if it has one
	Next      string // the screen a navigate goes to
	// Payload is what the action posts; values are literals or expressions.
	Payload map[string]json.RawMessage
	// Keys are the keys of Payload, sorted.
	Keys []string
}

// OnClick says that the user taps something to run the action, as opposed to
// choosing an option.
func (a *Action) OnClick() bool { return a.Attribute == "on-click-action" }

// Feed is a use of a data key that an empty value breaks.
type Feed struct {
	Component string // type of the component
	Attribute string // data-source, list-items, images, src
	// MinItems is how many items the array must hold; 0 for an image, which
	// needs a non-empty string.
	MinItems int
}

// Type is the type of a value in a data model.
type Type string

// The types Meta's data models know.
const (
	String  Type = "string"
	Number  Type = "number"
	Boolean Type = "boolean"
	Object  Type = "object"
	Array   Type = "array"
)

// Schema is one node of a data model, a subset of JSON Schema.
type Schema struct {
	Type        Type
	Items       *Schema            // of an array; nil when anything may be inside
	Properties  map[string]*Schema // of an object
	Required    []string           // of an object; nested properties are optional unless listed
	MinItems    int
	MaxItems    int // -1 when unlimited
	UniqueItems bool
	Example     json.RawMessage // __example__, which is for previews and never shown to a user
}
