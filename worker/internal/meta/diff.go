package meta

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/graph"
)

// State is how a flow here and the one at Meta relate.
type State string

// The states.
const (
	Same        State = "same"
	ChangedHere State = "changed here"
	ChangedMeta State = "changed at Meta"
	ChangedBoth State = "changed on both sides"
	OnlyHere    State = "only here"
	OnlyMeta    State = "only at Meta" // which is no difference: other flows may live there
	Gone        State = "gone here"    // in the lock file and at Meta, not in the folder
)

// Difference is how a flow here differs from the one at Meta.
type Difference struct {
	Flow   string `json:"flow"`
	ID     string `json:"id,omitempty"`
	State  State  `json:"state"`
	Status string `json:"status,omitempty"` // at Meta
	// Metadata are differences of endpoint and app, one a line.
	Metadata []string `json:"metadata,omitempty"`
	// Lines are those of the Flow JSON: "-" at Meta, "+" here.
	Lines []string `json:"diff,omitempty"`
	// Publish says that Meta has it as a draft.
	Publish bool `json:"unpublished,omitempty"`
}

// Differs says whether a push or a pull would change something.
func (d *Difference) Differs() bool {
	return d.State != Same && d.State != OnlyMeta || len(d.Metadata) > 0
}

// Diff compares flows with those at Meta. rest says that the flows are all of
// the folder, so that others at Meta are listed too.
func (s *Site) Diff(ctx context.Context, locals []Local, app string, rest bool) ([]Difference, error) {
	all := []Difference{}
	for _, l := range locals {
		d, err := s.diff(ctx, l, app)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", l.Name, err)
		}
		all = append(all, d)
	}
	if !rest {
		return all, nil
	}
	here := func(name string) bool {
		return slices.ContainsFunc(locals, func(l Local) bool { return l.Name == name })
	}
	for _, name := range slices.Sorted(maps.Keys(s.Lock.Flows)) {
		if !here(name) {
			all = append(all, Difference{Flow: name, ID: s.Lock.Flows[name].ID, State: Gone})
		}
	}
	flows, err := s.Graph.Flows(ctx, s.Account)
	if err != nil {
		return nil, err
	}
	for _, f := range flows {
		if s.Lock.nameOf(f.ID) == "" && !s.Lock.former(f.ID) && f.Status != graph.Deprecated {
			all = append(all, Difference{Flow: f.Name, ID: f.ID, State: OnlyMeta, Status: f.Status})
		}
	}
	return all, nil
}

func (s *Site) diff(ctx context.Context, l Local, app string) (Difference, error) {
	d := Difference{Flow: l.Name, State: OnlyHere}
	entry := s.Lock.Flows[l.Name]
	if entry == nil {
		return d, nil
	}
	at, err := s.read(ctx, l.Name, entry.ID)
	if err != nil {
		return d, err
	}
	d.ID, d.Status, d.Publish = entry.ID, at.Status, at.Status == graph.Draft
	own := Hash(l.JSON)
	switch {
	case own == at.hash:
		d.State = Same
	case at.hash == entry.JSON:
		d.State = ChangedHere
	case own == entry.JSON:
		d.State = ChangedMeta
	default:
		d.State = ChangedBoth
	}
	if d.State != Same {
		d.Lines = lineDiff(pretty(at.json), pretty(l.JSON))
	}
	head := ReadHead(l.JSON)
	if uri := strings.ReplaceAll(s.Lock.Endpoint, "{flow}", l.Name); head.hasEndpointURI() && uri != at.EndpointURI && (uri != "" || at.EndpointURI == "") {
		d.Metadata = append(d.Metadata, fmt.Sprintf("endpoint: %s at Meta, %s here", orNone(at.EndpointURI), orNone(uri)))
	}
	if head.AsksEndpoint() && app != "" && (at.Application == nil || at.Application.ID != app) {
		linked := "none"
		if at.Application != nil {
			linked = at.Application.ID
		}
		d.Metadata = append(d.Metadata, fmt.Sprintf("app: %s at Meta, %s here", linked, app))
	}
	return d, nil
}
