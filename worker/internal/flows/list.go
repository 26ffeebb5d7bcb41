package flows

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
)

// Filter says which flows are listed, and in which order.
type Filter struct {
	Accounts   []string // nil: all
	Status     string   // empty: any, and so on
	Name       string
	Search     string // part of name or description, in any case
	MetaFlowID string
	Sort       Sort
	After      *Place // nil: from the beginning
	Limit      int
}

// Sort is the order of a list.
type Sort struct {
	By         string // name | createdAt | updatedAt
	Descending bool
}

// sortColumns are the columns, in a form in which they compare the same way
// whatever the database's collation.
var sortColumns = map[string]string{
	"name": `f.name COLLATE "C"`, "createdAt": "f.created_at", "updatedAt": "f.updated_at",
}

// Place is where a flow stands in a list.
type Place struct {
	Name string
	At   time.Time
	ID   uuid.UUID
}

// PlaceOf is where f stands under a sort.
func (s Sort) PlaceOf(f *Flow) Place {
	switch s.By {
	case "createdAt":
		return Place{At: f.CreatedAt, ID: f.ID}
	case "updatedAt":
		return Place{At: f.UpdatedAt, ID: f.ID}
	}
	return Place{Name: f.Name, ID: f.ID}
}

// List reads flows that are not deleted.
func List(ctx context.Context, db Queryer, f Filter) ([]Flow, error) {
	column, known := sortColumns[f.Sort.By]
	if !known {
		return nil, fmt.Errorf("flows cannot be sorted by %q", f.Sort.By)
	}
	direction, beyond := "ASC", ">"
	if f.Sort.Descending {
		direction, beyond = "DESC", "<"
	}
	where := []string{"f.deleted_at IS NULL", "($1::text[] IS NULL OR f.account = ANY ($1))"}
	args := []any{f.Accounts}
	and := func(condition string, value any) {
		args = append(args, value)
		where = append(where, fmt.Sprintf(condition, len(args)))
	}
	if f.Status != "" {
		and("f.status = $%d", f.Status)
	}
	if f.Name != "" {
		and("f.name = $%d", f.Name)
	}
	if f.MetaFlowID != "" {
		and("f.meta_flow_id = $%d", f.MetaFlowID)
	}
	if f.Search != "" {
		and("(f.name ILIKE $%[1]d OR f.description ILIKE $%[1]d)", "%"+likeEscape.Replace(f.Search)+"%")
	}
	if f.After != nil {
		args = append(args, f.After.ID)
		id := len(args)
		var value any = f.After.At
		if f.Sort.By == "name" {
			value = f.After.Name
		}
		and("("+column+", f.id) "+beyond+fmt.Sprintf(" ($%%d, $%d)", id), value)
	}
	args = append(args, f.Limit)
	sql := fmt.Sprintf("SELECT %s FROM flows f WHERE %s ORDER BY %s %s, f.id %[4]s LIMIT $%[5]d",
		columns, strings.Join(where, " AND "), column, direction, len(args))
	rows, err := db.Query(ctx, sql, args...)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, func(row pgx.CollectableRow) (Flow, error) {
		var flow Flow
		err := row.Scan(flow.fields()...)
		return flow, err
	})
}

var likeEscape = strings.NewReplacer(`\`, `\\`, `%`, `\%`, `_`, `\_`)
