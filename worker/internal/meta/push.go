package meta

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/flowjson/validate"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/graph"
)

// PushOptions say how flows are pushed.
type PushOptions struct {
	App        string   // the Meta app whose secret signs requests; empty: that of the token
	Categories []string // of flows that are created
	Adopt      bool     // take over a flow of the same name that the lock does not know
	Overwrite  bool     // also what was changed at Meta since the last push
	Force      bool     // also a version that cannot be published over a flow that is
}

// Pushed is what became of a flow.
type Pushed struct {
	Result
	// Errors are Meta's, of the Flow JSON that was pushed, in its lines. The flow
	// cannot be published with them.
	Errors []validate.Problem `json:"validation_errors"`
	Status string             `json:"status"` // at Meta afterwards
}

// Push brings a flow to Meta: its Flow JSON, endpoint and app. What was done
// before an error stays, and is in the lock file.
func (s *Site) Push(ctx context.Context, l Local, o PushOptions) (Pushed, error) {
	p := Pushed{Result: Result{Flow: l.Name, Done: []string{}}, Errors: []validate.Problem{}}
	err := s.push(ctx, l, o, &p)
	return p, err
}

func (s *Site) push(ctx context.Context, l Local, o PushOptions, p *Pushed) error {
	entry, at, err := s.find(ctx, l, o, p)
	if err != nil {
		return err
	}
	if _, err := s.metadata(l, o, at); err != nil {
		return err // before anything is changed
	}
	if entry == nil {
		if entry, err = s.create(ctx, l, at, p); err != nil {
			return err
		}
	}
	p.ID, p.Status = entry.ID, at.Status
	hash := Hash(l.JSON)
	differs := at.hash != hash
	// In another layout Meta's errors stand at other lines than here.
	misplaced := !differs && len(at.ValidationErrors) > 0 && at.Status == graph.Draft && !bytes.Equal(at.json, l.JSON)
	if !differs && !misplaced {
		p.Errors = append(p.Errors, at.ValidationErrors...)
	}
	if drifted := entry.JSON != "" && at.hash != entry.JSON && at.hash != hash; drifted && !o.Overwrite {
		return fmt.Errorf("the flow was changed at Meta since the last push (%s is there, %s was pushed): look at it with diff, take it over with pull, or push over it with --overwrite", short(at.hash), short(entry.JSON))
	}
	if err := frozen(l, at, o); differs && err != nil {
		return err
	}
	if differs || misplaced {
		entry, at, err = s.upload(ctx, l, entry, at, p)
	} else if entry.JSON != hash && !s.DryRun {
		entry.JSON = hash
		err = s.save()
	}
	if err != nil {
		return err
	}
	if err := s.change(ctx, l, o, entry, at, p); err != nil {
		return err
	}
	return s.save() // the endpoint, which may be all that is new
}

// frozen refuses to make a draft of a live flow that could not be published again.
func frozen(l Local, at *remote, o PushOptions) error {
	version := ReadHead(l.JSON).Version
	since, _ := validate.Frozen(version)
	if since == "" || at.Status == graph.Draft || o.Force {
		return nil
	}
	return fmt.Errorf("the flow is %s, and version %s of its Flow JSON is frozen since %s: pushed, it would be a draft that Meta does not publish again: raise the version, or push it with --force", at.Status, version, since)
}

// find is the flow at Meta; its entry is nil if it is to be created.
func (s *Site) find(ctx context.Context, l Local, o PushOptions, p *Pushed) (*Entry, *remote, error) {
	if err := s.resume(ctx, l.Name, p); err != nil {
		return nil, nil, err
	}
	entry := s.Lock.Flows[l.Name]
	if entry != nil {
		at, err := s.read(ctx, l.Name, entry.ID)
		if err == nil && at.Status == graph.Deprecated {
			err = fmt.Errorf("the flow %s is deprecated, which is for good: give its folder another name to begin a new one", entry.ID)
		}
		return entry, at, err
	}
	all, err := s.Graph.Flows(ctx, s.Account)
	if err != nil {
		return nil, nil, err
	}
	i := slices.IndexFunc(all, func(f graph.Flow) bool { return f.Name == l.Name })
	switch {
	case i < 0:
		return nil, newRemote(l, o), nil
	case all[i].Status == graph.Deprecated:
		return nil, nil, fmt.Errorf("there is a flow of this name at Meta, %s, which is deprecated, and a name is never free again: give the folder another name", all[i].ID)
	case !o.Adopt:
		return nil, nil, fmt.Errorf("there is a flow of this name at Meta, %s, which the lock file does not know: take it into the folder with pull, or put this one in its place with --adopt", all[i].ID)
	}
	entry = &Entry{ID: all[i].ID, Name: l.Name}
	at, err := s.read(ctx, l.Name, entry.ID)
	if err != nil {
		return nil, nil, err
	}
	p.do("adopt %s", entry.ID)
	return entry, at, s.keep(l.Name, entry)
}

// keep puts an entry into the lock file.
func (s *Site) keep(name string, entry *Entry) error {
	if s.DryRun {
		return nil
	}
	s.Lock.Flows[name] = entry
	delete(s.Lock.Begun, name)
	return s.save()
}

// newRemote is a flow as it is right after its creation.
func newRemote(l Local, o PushOptions) *remote {
	categories := o.Categories
	if len(categories) == 0 {
		categories = []string{"OTHER"}
	}
	return &remote{Flow: &graph.Flow{Name: l.Name, Status: graph.Draft, Categories: categories}}
}

func (s *Site) create(ctx context.Context, l Local, at *remote, p *Pushed) (*Entry, error) {
	what := "create, category " + strings.Join(at.Categories, ", ")
	entry := &Entry{Name: l.Name}
	if s.DryRun {
		p.do("%s", what)
		return entry, nil
	}
	id, err := s.make(ctx, l.Name, graph.NewFlow{Name: l.Name, Categories: at.Categories})
	if err != nil {
		return nil, err
	}
	p.do("%s", what)
	entry.ID, at.ID, p.ID = id, id, id
	return entry, s.keep(l.Name, entry)
}

// metadata is what is to be changed besides the Flow JSON.
func (s *Site) metadata(l Local, o PushOptions, at *remote) (graph.Metadata, error) {
	var m graph.Metadata
	head := ReadHead(l.JSON)
	if head.hasEndpointURI() {
		uri := strings.ReplaceAll(s.Lock.Endpoint, "{flow}", l.Name)
		switch {
		case uri == "" && at.EndpointURI == "":
			return m, errors.New("the flow asks an endpoint (data_api_version), and nobody has said where it is: give --endpoint https://flows.example.com/flows/endpoint/{flow} once, the lock file remembers it")
		case uri != "" && uri != at.EndpointURI:
			m.EndpointURI = uri
		}
	}
	if head.AsksEndpoint() && o.App != "" && (at.Application == nil || at.Application.ID != o.App) {
		m.ApplicationID = o.App
	}
	return m, nil
}

// upload replaces the Flow JSON; of a flow that cannot be changed, that of a
// clone, which takes its place.
func (s *Site) upload(ctx context.Context, l Local, entry *Entry, at *remote, p *Pushed) (*Entry, *remote, error) {
	what := fmt.Sprintf("upload the Flow JSON (%s, was %s)", short(Hash(l.JSON)), short(at.hash))
	if s.DryRun {
		p.do("%s", what)
		if at.Status != graph.Draft {
			p.note("the flow is %s: the new Flow JSON makes it a draft until it is published, while messages already sent keep the old one; if Meta refuses the change, as of flows published before November 2024, a clone takes its place", at.Status)
		}
		return entry, at, nil
	}
	before := at.Status
	problems, err := s.Graph.UploadJSON(ctx, entry.ID, l.JSON)
	if graph.HasCode(err, graph.CodeFlowCannotUpdate) {
		if entry, at, err = s.clone(ctx, l, entry, at, p); err != nil {
			return nil, nil, err
		}
		before = graph.Draft
		problems, err = s.Graph.UploadJSON(ctx, entry.ID, l.JSON)
	}
	if err != nil {
		return nil, nil, err
	}
	p.do("%s", what)
	if before != graph.Draft {
		p.note("the flow is a draft now: publish it; messages already sent keep the old Flow JSON")
	}
	p.Errors, p.Status, at.Status = append([]validate.Problem{}, problems...), graph.Draft, graph.Draft
	entry.JSON = Hash(l.JSON)
	return entry, at, s.save()
}

// mostClones bounds the search for a free name.
const mostClones = 1000

// clone makes a copy of a flow that cannot be changed, and the lock's entry
// that of the copy.
func (s *Site) clone(ctx context.Context, l Local, entry *Entry, at *remote, p *Pushed) (*Entry, *remote, error) {
	all, err := s.Graph.Flows(ctx, s.Account)
	if err != nil {
		return nil, nil, err
	}
	name := ""
	for n := 2; n < mostClones && name == ""; n++ {
		candidate := fmt.Sprintf("%s %d", l.Name, n)
		if !slices.ContainsFunc(all, func(f graph.Flow) bool { return f.Name == candidate }) {
			name = candidate
		}
	}
	categories := at.Categories
	if len(categories) == 0 {
		categories = []string{"OTHER"}
	}
	id, err := s.make(ctx, l.Name, graph.NewFlow{Name: name, Categories: categories, CloneID: entry.ID})
	if err != nil {
		return nil, nil, fmt.Errorf("the flow %s can be neither changed nor cloned: %w", entry.ID, err)
	}
	p.ID = id
	p.do("clone %s as %q, which is %s", entry.ID, name, id)
	p.note("Meta refuses to change %s (139001), so a clone took its place. Messages and templates that name %s still open the old one: change the templates, publish the clone, and end the old one with deprecate --former", entry.ID, entry.ID)
	next := &Entry{ID: id, Name: name, Former: append([]string{entry.ID}, entry.Former...)}
	if err := s.keep(l.Name, next); err != nil {
		return nil, nil, err
	}
	copied, err := s.Graph.Flow(ctx, id)
	if err != nil {
		return nil, nil, err
	}
	return next, &remote{Flow: copied}, nil
}

// change sets endpoint and app.
func (s *Site) change(ctx context.Context, l Local, o PushOptions, entry *Entry, at *remote, p *Pushed) error {
	m, err := s.metadata(l, o, at)
	if err != nil || m.EndpointURI == "" && m.ApplicationID == "" {
		return err
	}
	if !s.DryRun {
		err = s.Graph.UpdateFlow(ctx, entry.ID, m)
	}
	if graph.HasCode(err, graph.CodeFlowCannotUpdate) && at.Status != graph.Draft {
		if no := frozen(l, at, o); no != nil { // its clone could not be published
			return errors.Join(no, err)
		}
		next, copied, err := s.clone(ctx, l, entry, at, p)
		if err != nil {
			return err
		}
		next.JSON, p.Status = Hash(l.JSON), graph.Draft
		if err := s.save(); err != nil {
			return err
		}
		return s.change(ctx, l, o, next, copied, p) // a clone is a draft: there is no third time
	}
	if err != nil {
		return err
	}
	if m.EndpointURI != "" {
		p.do("set the endpoint to %s", m.EndpointURI)
	}
	if m.ApplicationID != "" {
		p.do("link the app %s", m.ApplicationID)
	}
	return nil
}
