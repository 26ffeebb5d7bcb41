package meta

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"path"
	"slices"
	"strings"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/flow"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/flowjson"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/graph"
)

// FindFlow finds a flow at Meta by its id, or by its name there.
func FindFlow(ctx context.Context, c *graph.Client, account, flow string) (*graph.Flow, error) {
	if strings.Trim(flow, "0123456789") == "" {
		return c.Flow(ctx, flow)
	}
	all, err := c.Flows(ctx, account)
	if err != nil {
		return nil, err
	}
	var found []graph.Flow
	for _, f := range all {
		if f.Status != graph.Deprecated && (f.Name == flow || EndpointName(f.EndpointURI) == flow) {
			found = append(found, f)
		}
	}
	switch len(found) {
	case 0:
		return nil, fmt.Errorf("there is no flow of the name %s at Meta: push it, or name its id", flow)
	case 1:
		return c.Flow(ctx, found[0].ID)
	}
	ids := make([]string, len(found))
	for i, f := range found {
		ids[i] = f.ID
	}
	return nil, fmt.Errorf("there are %d flows of the name %s at Meta: name one by its id: %s", len(found), flow, strings.Join(ids, ", "))
}

// EndpointName is the flow that the path of an endpoint of ours names; empty if
// it names none.
func EndpointName(uri string) string {
	u, err := url.Parse(uri)
	if err != nil {
		return ""
	}
	if name := u.Query().Get("flow"); name != "" {
		return name
	}
	if dir, name := path.Split(u.Path); strings.HasSuffix(dir, "/flows/endpoint/") {
		return name
	}
	return ""
}

// Opening is how a message opens a flow.
type Opening struct {
	Action string // data_exchange or navigate
	Screen string // of navigate
	Data   map[string]json.RawMessage
}

// Open decides how a message opens a flow: one with an endpoint is asked for the
// first screen, of another the message names it, with the data it declares. What
// is given of o is kept, if it fits.
func Open(ctx context.Context, c *graph.Client, f *graph.Flow, o Opening) (Opening, error) {
	head := Head{Version: f.JSONVersion, DataAPI: f.DataAPIVersion}
	if o.Action == "" {
		if o.Action = flowjson.Navigate; head.AsksEndpoint() && o.Screen == "" && len(o.Data) == 0 {
			o.Action = flowjson.DataExchange
		}
	}
	switch {
	case o.Action == flowjson.DataExchange && !head.AsksEndpoint():
		return o, errors.New("the flow has no endpoint (no data_api_version): it can only be opened with navigate")
	case o.Action == flowjson.DataExchange && f.EndpointURI == "" && head.hasEndpointURI():
		return o, errors.New("the flow asks an endpoint, and has none set: push it with --endpoint")
	case o.Action == flowjson.DataExchange:
		return o, nil
	case o.Action != flowjson.Navigate:
		return o, fmt.Errorf("the action is %q, expected data_exchange or navigate", o.Action)
	}
	text, err := c.DownloadJSON(ctx, f.ID)
	if err != nil {
		return o, err
	}
	def, err := flow.Load(text, nil)
	if err != nil {
		return o, fmt.Errorf("the Flow JSON at Meta: %w", err)
	}
	entries := def.EntryScreens()
	if o.Screen == "" {
		o.Screen = entries[0]
	}
	screen := def.Flow().Screen(o.Screen)
	if screen == nil || !def.IsEntry(o.Screen) {
		return o, fmt.Errorf("%q is no screen the flow can begin with, expected %s", o.Screen, strings.Join(entries, " or "))
	}
	if err := fits(screen, o.Data); err != nil {
		return o, err
	}
	// The phone holds what a message brings against the same rules as a reply.
	data := o.Data
	if data == nil {
		data = map[string]json.RawMessage{}
	}
	reply, err := json.Marshal(map[string]any{"screen": o.Screen, "data": data})
	if err == nil {
		_, err = flow.Guard(def, &flow.Request{Action: flow.Init, Screen: o.Screen}, reply)
	}
	if err != nil {
		return o, fmt.Errorf("the data given with --data do not fit the screen %s, and the phone would show an error: %w", o.Screen, err)
	}
	return o, nil
}

// fits refuses data that the screen does not declare, and names all that it
// declares and the message does not bring.
func fits(screen *flowjson.Screen, data map[string]json.RawMessage) error {
	var missing []string
	for _, key := range screen.Keys {
		if _, given := data[key]; !given {
			missing = append(missing, key)
		}
	}
	if len(missing) > 0 {
		return fmt.Errorf("the screen %s declares data that the message must bring: give --data with %s", screen.ID, strings.Join(missing, ", "))
	}
	for _, key := range slices.Sorted(maps.Keys(data)) {
		if screen.Data[key] == nil {
			return fmt.Errorf("the screen %s declares no data of the name %s", screen.ID, key)
		}
	}
	return nil
}
