package api

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/jackc/pgx/v5"
	"go.uber.org/zap"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/worker/internal/flows"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/worker/internal/store"
)

// edition is what a flow shall become.
type edition struct {
	flows.Properties
	content *flows.Content // nil: it stays
	// follows says that the label is the version that the Flow JSON declares.
	follows bool
}

// errOvertaken: the content that was checked is no longer what the flow shall
// have, for somebody else changed it meanwhile.
var errOvertaken = errors.New("the flow was changed while this change was checked")

// edit changes a flow. next says what it shall be. The content is checked before
// the flow is locked: a check may take seconds, and would hold a connection that
// others wait for.
func (a *api) edit(ctx context.Context, in *changeFlowInput, next func(flows.Queryer, *flows.Flow) (edition, error)) (*flowAnswer, error) {
	f, err := a.flow(ctx, in.FlowPath)
	if err != nil {
		return nil, err
	}
	if err := errors.Join(matches(in.IfMatch, f), in.Body.forAccount(f.Account)); err != nil {
		return nil, err
	}
	e, err := next(a.Pool, f)
	for err == nil {
		var c *checked
		if c, err = a.checkEdition(ctx, &e, in.Force); err != nil {
			break
		}
		var out *flowAnswer
		err = a.changeOne(ctx, in.FlowPath, in.IfMatch, func(tx pgx.Tx, f *flows.Flow) (err error) {
			if e, err = next(tx, f); err != nil {
				return err
			}
			if c != nil && !c.Same(*e.content) {
				return errOvertaken
			}
			out, err = a.apply(ctx, tx, f, e, c)
			return err
		})
		if !errors.Is(err, errOvertaken) {
			return out, err
		}
		err = nil // once more, with what the other one made of it
	}
	return nil, err
}

// checkEdition is nil for one without content.
func (a *api) checkEdition(ctx context.Context, e *edition, force bool) (*checked, error) {
	if e.content == nil {
		return nil, nil
	}
	c, err := a.check(ctx, e.content.FlowJSON, e.content.Logic)
	if err == nil && !force {
		err = c.refusal()
	}
	return &c, err
}

func (a *api) apply(ctx context.Context, tx pgx.Tx, f *flows.Flow, e edition, c *checked) (*flowAnswer, error) {
	if c != nil && e.follows && c.Definition != nil {
		e.Label = declaredVersion(c)
	}
	if !f.Properties.Same(e.Properties) {
		if err := f.Change(ctx, tx, e.Properties); err != nil {
			return nil, takenName(err, e.Name)
		}
	}
	return a.store(ctx, tx, f, c, http.StatusOK)
}

// store adds content, if there is any, to a locked flow and makes the answer.
func (a *api) store(ctx context.Context, tx pgx.Tx, f *flows.Flow, c *checked, status int) (*flowAnswer, error) {
	note := ""
	if c != nil {
		number, added, err := f.AddVersion(ctx, tx, c.Content)
		if err != nil {
			return nil, err
		}
		if c.Definition == nil {
			note = fmt.Sprintf("Version %d is stored but not active, because it cannot run: ", number)
			if f.Active > 0 {
				note += fmt.Sprintf("version %d is still served", f.Active)
			} else {
				note += "nothing is served"
			}
		}
		a.note(ctx, zap.Int("version", number), zap.Bool("version_added", added))
	}
	active, err := activeVersion(ctx, tx, f)
	if err != nil {
		return nil, err
	}
	a.note(ctx, zap.String("account", f.Account), zap.String("flow", f.Name), zap.Int("active_version", f.Active))
	out := answerFlow(status, f, active)
	out.Body.Note = note
	if c != nil {
		out.Body.Validation = &c.Validation
	}
	return out, nil
}

// activeVersion is nil if there is none.
func activeVersion(ctx context.Context, db flows.Queryer, f *flows.Flow) (*flows.Version, error) {
	if f.Active == 0 {
		return nil, nil
	}
	return flows.GetVersion(ctx, db, f, f.Active)
}

// changeOne runs do with a flow locked.
func (a *api) changeOne(ctx context.Context, path FlowPath, ifMatch string, do func(pgx.Tx, *flows.Flow) error) error {
	key, err := a.flowKey(ctx, path)
	if err != nil {
		return err
	}
	return a.change(ctx, func(tx pgx.Tx) error {
		f, err := flows.Lock(ctx, tx, key)
		if err != nil {
			return noFlow(err, key)
		}
		if err := matches(ifMatch, f); err != nil {
			return err
		}
		return do(tx, f)
	})
}

// matches is an error if a client has read another state of f.
func matches(ifMatch string, f *flows.Flow) error {
	if ifMatch != "" && !names(ifMatch, etag(f)) {
		return preconditionFailed("The flow was changed meanwhile: its ETag is %s now. Read it again", etag(f))
	}
	return nil
}

// change runs do in a transaction, and has the edges told once it is committed.
// It runs do again after a deadlock, which two who exchange names make.
func (a *api) change(ctx context.Context, do func(pgx.Tx) error) error {
	err := pgx.BeginFunc(ctx, a.Pool, do)
	for tries := 1; tries < 3 && err != nil && store.FaultOf(err) == store.FaultCollision; tries++ {
		err = pgx.BeginFunc(ctx, a.Pool, do)
	}
	if err == nil {
		a.Changed()
	}
	return err
}

func takenName(err error, name string) error {
	if errors.Is(err, flows.ErrNameTaken) {
		return conflict("Flow with name '%s' already exists", name)
	}
	return err
}
