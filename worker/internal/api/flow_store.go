package api

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/jackc/pgx/v5"
	"go.uber.org/zap"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/worker/internal/flows"
)

// edit changes a flow under its lock. next says what it shall be; nil content
// leaves it as it is.
func (a *api) edit(ctx context.Context, in *changeFlowInput, next func(pgx.Tx, *flows.Flow) (flows.Properties, *checked, error)) (*flowAnswer, error) {
	var out *flowAnswer
	err := a.changeOne(ctx, in.FlowPath, in.IfMatch, func(tx pgx.Tx, f *flows.Flow) error {
		if err := in.Body.forAccount(f.Account); err != nil {
			return err
		}
		p, c, err := next(tx, f)
		if err != nil {
			return err
		}
		if c != nil && !in.Force {
			if err := c.refusal(); err != nil {
				return err
			}
		}
		if !f.Properties.Same(p) {
			if err := f.Change(ctx, tx, p); err != nil {
				return takenName(err, p.Name)
			}
		}
		out, err = a.store(ctx, tx, f, c, http.StatusOK)
		return err
	})
	return out, err
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
		if ifMatch != "" && !names(ifMatch, etag(f)) {
			return preconditionFailed("The flow was changed meanwhile: its ETag is %s now. Read it again", etag(f))
		}
		return do(tx, f)
	})
}

// change runs do in a transaction, and has the edges told once it is committed.
func (a *api) change(ctx context.Context, do func(pgx.Tx) error) error {
	err := pgx.BeginFunc(ctx, a.Pool, do)
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
