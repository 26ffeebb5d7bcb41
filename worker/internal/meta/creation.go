package meta

import (
	"context"
	"errors"
	"slices"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/graph"
)

// make creates a flow at Meta that name is to be. What it will be called is
// written into the lock file before: when the process dies, or no answer comes,
// the next push finds by it what Meta has made, and does not make another.
func (s *Site) make(ctx context.Context, name string, f graph.NewFlow) (id string, err error) {
	s.Lock.Begun[name] = f.Name
	if err := s.save(); err != nil {
		return "", err
	}
	id, err = s.Graph.CreateFlow(ctx, s.Account, f)
	var refused *graph.Error
	if errors.As(err, &refused) && !refused.Undecided {
		delete(s.Lock.Begun, name)
		return "", errors.Join(err, s.save())
	}
	return id, err
}

// resume takes over the flow whose creation broke off, if Meta has made it.
func (s *Site) resume(ctx context.Context, name string, p *Pushed) error {
	begun := s.Lock.Begun[name]
	if begun == "" {
		return nil
	}
	all, err := s.Graph.Flows(ctx, s.Account)
	if err != nil {
		return err
	}
	delete(s.Lock.Begun, name)
	// A name was free when the creation began, and a new flow is a draft: what
	// somebody published meanwhile under it is somebody else's.
	i := slices.IndexFunc(all, func(f graph.Flow) bool { return f.Name == begun && f.Status == graph.Draft })
	if i < 0 {
		return s.save()
	}
	entry := &Entry{ID: all[i].ID, Name: begun}
	if old := s.Lock.Flows[name]; old != nil { // it is a clone
		entry.Former = append([]string{old.ID}, old.Former...)
	}
	p.do("take over %s (%q), whose creation broke off", entry.ID, begun)
	s.Lock.Flows[name] = entry // of a dry run too, which ends with it
	return s.save()
}
