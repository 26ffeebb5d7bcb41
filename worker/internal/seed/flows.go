package seed

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/flow"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/flowjson/validate"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/worker/internal/flows"
)

// target is the flow here that one of the seed's became.
type target struct {
	id   uuid.UUID
	name string
}

// seedFlow is a row of flows.
type seedFlow struct {
	id                                         uuid.UUID
	name, flowJSON                             string
	label, description, status, meta, template *string
	created, updated                           *time.Time
}

func (f *seedFlow) key() uuid.UUID { return f.id }

func (i *importer) importFlows(ctx context.Context) error {
	s := i.source
	const t = "flows"
	return move(ctx, i, table[*seedFlow]{
		name: t,
		// A name that fits here goes before one that has to be changed into it.
		query: "SELECT t.id::uuid, t.name::text, t.flow_json::text, " + strings.Join([]string{
			s.text(t, "version"), s.text(t, "description"), s.text(t, "status"), s.text(t, "meta_flow_id"), s.text(t, "template_name"),
			s.at(t, "created_at", "updated_at"), s.at(t, "updated_at", "created_at")}, ", ") +
			" FROM " + s.name(t) + " t ORDER BY (t.name::text ~ '^[A-Za-z0-9][A-Za-z0-9._-]*$') DESC, 9, t.id",
		scan: func(row pgx.CollectableRow) (*seedFlow, error) {
			f := new(seedFlow)
			err := row.Scan((*[16]byte)(&f.id), &f.name, &f.flowJSON, &f.label, &f.description, &f.status, &f.meta, &f.template, &f.created, &f.updated)
			return f, err
		},
		refuse: func(*seedFlow) string { return "" },
		store: func(ctx context.Context, tx pgx.Tx, rows []*seedFlow) (all []outcome, err error) {
			for _, f := range rows {
				o, err := i.storeFlow(ctx, tx, f)
				if err != nil {
					return nil, err
				}
				all = append(all, o)
			}
			return all, nil
		},
		exist: func(ctx context.Context, rows []*seedFlow) (map[uuid.UUID]bool, error) {
			for _, f := range rows {
				i.flows[f.id] = target{f.id, acceptable(f)}
				i.report.Flows = append(i.report.Flows, examine(f).Flow)
			}
			return i.exists(ctx, "SELECT id FROM flows WHERE id = ANY ($1::uuid[])", uuids(keys(rows)))
		},
		reads: true,
		again: func(ctx context.Context, rows []*seedFlow, became map[uuid.UUID]uuid.UUID) error {
			for _, f := range rows {
				if err := i.rememberFlow(ctx, i.Pool, f.id, became[f.id]); err != nil {
					return err
				}
			}
			return nil
		},
		stored: func(ctx context.Context, rows []*seedFlow) error {
			for _, f := range rows {
				known, err := i.ledger.known(ctx, i.Pool, t, []uuid.UUID{f.id})
				if err != nil {
					return err
				}
				if err := i.rememberFlow(ctx, i.Pool, f.id, known[f.id]); err != nil {
					return err
				}
				e := examine(f)
				e.Name = i.flows[f.id].name
				i.report.Flows = append(i.report.Flows, e.Flow)
			}
			return nil
		},
		note: func(f *seedFlow) string { return renamed(f.name, acceptable(f)) },
	})
}

func keys[R row](rows []R) []uuid.UUID {
	ids := make([]uuid.UUID, len(rows))
	for n, r := range rows {
		ids[n] = r.key()
	}
	return ids
}

func (i *importer) rememberFlow(ctx context.Context, db flows.Queryer, seed, ours uuid.UUID) error {
	t := target{id: ours}
	err := db.QueryRow(ctx, "SELECT name FROM flows WHERE id = $1", ours).Scan(&t.name)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil // whoever deleted its row meant it; sessions will say that they know no flow
	}
	if err != nil {
		return fmt.Errorf("reading a flow: %w", err)
	}
	i.flows[seed] = t
	return nil
}

// storeFlow makes a flow of the same id and name. A flow that is here under the
// name already stays as it is, and gets the seed's as a version that is not
// active: sessions and answers belong to it from now on.
func (i *importer) storeFlow(ctx context.Context, tx pgx.Tx, in *seedFlow) (outcome, error) {
	o := outcome{id: in.id, result: takenOver, target: in.id}
	content := examine(in).content
	name := acceptable(in)
	if _, err := flows.Get(ctx, tx, flows.Key{ID: in.id}); err == nil {
		o.result = wasThere
		return o, nil
	} else if !errors.Is(err, flows.ErrNotFound) {
		return o, fmt.Errorf("reading a flow: %w", err)
	}
	f, err := flows.Lock(ctx, tx, flows.Key{Account: i.Account, Name: name})
	if err == nil && name == in.name {
		o.target = f.ID
		number, err := addOrKeep(ctx, tx, f, content)
		if err != nil {
			return o, fmt.Errorf("storing the flow %s: %w", name, err)
		}
		o.note = fmt.Sprintf("a flow of this name was here: it stays as it is, holds this one as its version %d, and sessions and answers belong to it", number)
		return o, nil
	}
	for n := 2; err == nil; n++ {
		name = fmt.Sprintf("%s-%d", acceptable(in), n)
		_, err = flows.Get(ctx, tx, flows.Key{Account: i.Account, Name: name})
	}
	if !errors.Is(err, flows.ErrNotFound) {
		return o, fmt.Errorf("reading a flow: %w", err)
	}
	o.note = renamed(in.name, name)
	p := flows.Properties{Name: name, Status: flows.Active, Label: in.label, Description: in.description, MetaFlowID: in.meta, TemplateName: in.template}
	if in.status != nil && (*in.status == flows.Inactive || *in.status == flows.Deprecated) {
		p.Status = *in.status
	}
	if f, err = flows.CreateAs(ctx, tx, in.id, i.Account, p); err != nil {
		return o, fmt.Errorf("storing the flow %s: %w", name, err)
	}
	if _, _, err := f.AddVersion(ctx, tx, content); err != nil {
		return o, fmt.Errorf("storing the flow %s: %w", name, err)
	}
	return o, i.setTimes(ctx, tx, in)
}

// addOrKeep makes content the active version only where nothing is.
func addOrKeep(ctx context.Context, tx pgx.Tx, f *flows.Flow, content flows.Content) (number int, err error) {
	if f.Active == 0 {
		number, _, err = f.AddVersion(ctx, tx, content)
	} else {
		number, _, err = f.KeepVersion(ctx, tx, content)
	}
	return number, err
}

// setTimes gives a flow the times it had: the version of an answer is looked for
// by them.
func (i *importer) setTimes(ctx context.Context, tx pgx.Tx, in *seedFlow) error {
	if in.created == nil {
		return nil // it has none: now
	}
	_, err := tx.Exec(ctx, "UPDATE flows SET created_at = $2, updated_at = $3 WHERE id = $1", in.id, in.created, in.updated)
	if err == nil {
		_, err = tx.Exec(ctx, "UPDATE flow_versions SET created_at = $3 WHERE account = $1 AND flow_id = $2", i.Account, in.id, in.created)
	}
	if err != nil {
		return fmt.Errorf("setting the times of a flow: %w", err)
	}
	return nil
}

var (
	plainName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]*$`)
	strange   = regexp.MustCompile(`[^A-Za-z0-9._-]+`)
)

// acceptable is a name for the path of an endpoint, as near to the seed's as can
// be.
func acceptable(f *seedFlow) string {
	if plainName.MatchString(f.name) && len(f.name) <= 255 && uuid.Validate(f.name) != nil {
		return f.name
	}
	name := strings.Trim(strange.ReplaceAllString(f.name, "-"), "-._")
	if name == "" || uuid.Validate(name) == nil {
		name = "flow-" + f.id.String()[:8]
	}
	return name[:min(len(name), 200)]
}

func renamed(before, now string) string {
	if before == now {
		return ""
	}
	return fmt.Sprintf("its name %.100q does not fit into the path of an endpoint: it is called %s here", before, now)
}

// examined is what is to be said of a flow, and its content.
type examined struct {
	Flow
	content flows.Content
}

// examine reads a flow as the API does when one is stored.
func examine(f *seedFlow) examined {
	text := []byte(f.flowJSON)
	e := examined{Flow: Flow{Name: acceptable(f)}, content: flows.Content{FlowJSON: text}}
	report := validate.Flow(text)
	e.Errors, e.Warnings = len(report.Errors), len(report.Warnings)
	for n, p := range report.Errors {
		if n == maxFindings {
			break
		}
		e.Findings = append(e.Findings, finding(p))
	}
	definition, err := flow.Load(text, nil)
	if err != nil {
		e.content.Broken = err.Error()
		e.Broken = err.Error()
		return e
	}
	e.content.Definition = definition
	for n, w := range definition.Warnings() {
		if n == maxFindings {
			break
		}
		e.Notes = append(e.Notes, w)
	}
	return e
}

func finding(p validate.Problem) string {
	s := string(p.Error) + ": " + p.Message
	if len(p.Pointers) > 0 && p.Pointers[0].Path != "" {
		s += " (" + p.Pointers[0].Path + ")"
	}
	return s
}
