package seed

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
)

// tables are those that the five migrations of whatsapp-flows-server make, with
// the columns without which nothing can be told, in the order of their
// references.
var tables = []struct {
	name     string
	required []string
}{
	{"flows", []string{"id", "name", "flow_json"}},
	{"flow_sessions", []string{"id", "flow_id", "flow_token"}},
	{"flow_responses", []string{"id", "flow_token", "response_data"}},
	{"webhook_events", []string{"id", "raw_payload"}},
}

// touchFunction is what its triggers call; it moves with the tables.
const touchFunction = "update_updated_at_column"

// location is where the tables are.
type location struct {
	schema  string
	current bool     // where the worker's own tables belong
	tables  []string // of those above, in the schema
}

// find looks for the tables in the schema that new tables are made in, then in
// the one that an import moves them to.
func find(ctx context.Context, pool *pgxpool.Pool) (*location, error) {
	var current string
	if err := pool.QueryRow(ctx, "SELECT coalesce(current_schema(), '')").Scan(&current); err != nil {
		return nil, fmt.Errorf("looking for the tables of whatsapp-flows-server: %w", err)
	}
	var moved *location
	if current != Schema {
		var err error
		if moved, err = tablesIn(ctx, pool, Schema); err != nil {
			return nil, err
		}
	}
	here, err := tablesIn(ctx, pool, current)
	switch {
	case err != nil:
		return nil, err
	case here != nil && moved != nil:
		return nil, fmt.Errorf("there are tables of whatsapp-flows-server in the schema %s and in the schema %s: it was started again after they were moved. "+
			"Stop it, look at what it wrote, and drop those in %[1]s, or give them a database of their own and import that with --from", current, Schema)
	case here != nil:
		here.current = true
		return here, nil
	case moved != nil:
		return moved, nil
	}
	return nil, fmt.Errorf("%w in the schemas %s and %s of this database: expected flows, flow_sessions, flow_responses and webhook_events as its migrations make them. "+
		"If they are in another database, name it with --from", ErrNothing, current, Schema)
}

// tablesIn is nil when none of the tables is there. Ours have the same names and
// know an account.
func tablesIn(ctx context.Context, pool *pgxpool.Pool, schema string) (*location, error) {
	l := &location{schema: schema}
	for _, t := range tables {
		columns, err := columnsOf(ctx, pool, schema, t.name)
		if err != nil {
			return nil, err
		}
		if len(columns) == 0 || columns["account"] != "" {
			continue
		}
		for _, name := range t.required {
			if columns[name] == "" {
				return nil, fmt.Errorf("the table %s.%s has no column %s: it is not as the migrations of whatsapp-flows-server make it, so nothing was touched", schema, t.name, name)
			}
		}
		l.tables = append(l.tables, t.name)
	}
	if len(l.tables) == 0 {
		return nil, nil
	}
	return l, nil
}

// columnsOf are a table's columns and their types; none when it is not there.
func columnsOf(ctx context.Context, db interface {
	Query(context.Context, string, ...any) (pgx.Rows, error)
}, schema, table string) (map[string]string, error) {
	rows, err := db.Query(ctx, `
		SELECT a.attname::text, format_type(a.atttypid, NULL) FROM pg_attribute a
		JOIN pg_class c ON c.oid = a.attrelid JOIN pg_namespace n ON n.oid = c.relnamespace
		WHERE n.nspname = $1 AND c.relname = $2 AND c.relkind IN ('r', 'p') AND a.attnum > 0 AND NOT a.attisdropped`, schema, table)
	if err != nil {
		return nil, fmt.Errorf("reading the columns of %s.%s: %w", schema, table, err)
	}
	columns := make(map[string]string)
	var name, kind string
	if _, err := pgx.ForEachRow(rows, []any{&name, &kind}, func() error { columns[name] = kind; return nil }); err != nil {
		return nil, fmt.Errorf("reading the columns of %s.%s: %w", schema, table, err)
	}
	return columns, nil
}

// moveAside gives the tables a schema of their own: all of them, or none. Their
// rows, keys, indexes and triggers stay as they are.
func moveAside(ctx context.Context, pool *pgxpool.Pool, l *location) error {
	// Only a ledger of ours may be dropped below.
	for _, name := range []string{"imported", "callbacks"} {
		columns, err := columnsOf(ctx, pool, Schema, name)
		if err != nil {
			return err
		}
		if len(columns) > 0 && (columns["account"] == "" || columns["source_table"] == "" && columns["webhook_id"] == "") {
			return fmt.Errorf("the schema %s holds a table %s of something else, and nothing was touched: the tables of whatsapp-flows-server and the ledger of the import belong there: rename that schema", Schema, name)
		}
	}
	err := pgx.BeginFunc(ctx, pool, func(tx pgx.Tx) error {
		statements := []string{"SET LOCAL lock_timeout = '5s'"}
		locked := make([]string, len(l.tables))
		for n, name := range l.tables {
			locked[n] = pgx.Identifier{l.schema, name}.Sanitize()
		}
		statements = append(statements, "LOCK TABLE "+strings.Join(locked, ", ")+" IN ACCESS EXCLUSIVE MODE", "CREATE SCHEMA IF NOT EXISTS "+Schema,
			// Of an import that was taken back: what it tells of is not here, or the seed's tables would not be.
			"DROP TABLE IF EXISTS "+Schema+".imported, "+Schema+".callbacks")
		for _, table := range locked {
			statements = append(statements, "ALTER TABLE "+table+" SET SCHEMA "+Schema)
		}
		for _, sql := range statements {
			if _, err := tx.Exec(ctx, sql); err != nil {
				return err
			}
		}
		if err := moveFunction(ctx, tx, l.schema); err != nil {
			return err
		}
		return sameSchema(ctx, tx, l.schema)
	})
	var pg *pgconn.PgError
	switch {
	case errors.As(err, &pg) && pg.Code == "55P03":
		return errors.New("the tables of whatsapp-flows-server are in use, and were left untouched: stop it, and whatever else reads them, and try again")
	case errors.As(err, &pg) && pg.Code == "42501":
		return fmt.Errorf("the tables of whatsapp-flows-server cannot be moved aside and were left untouched: the user of DATABASE_URL must own them, "+
			"and may need GRANT CREATE ON DATABASE for the schema %s: %s", Schema, pg.Message)
	case err != nil:
		return fmt.Errorf("moving the tables of whatsapp-flows-server aside: %w", err)
	}
	return nil
}

// moveFunction takes the function of the triggers along, if it may be moved.
func moveFunction(ctx context.Context, tx pgx.Tx, schema string) error {
	var movable bool
	err := tx.QueryRow(ctx, `
		SELECT EXISTS (SELECT FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
		WHERE n.nspname = $1 AND p.proname = $2 AND p.pronargs = 0 AND pg_has_role(p.proowner, 'USAGE'))
		AND NOT EXISTS (SELECT FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace WHERE n.nspname = $3 AND p.proname = $2)`,
		schema, touchFunction, Schema).Scan(&movable)
	if err != nil || !movable {
		return err
	}
	_, err = tx.Exec(ctx, "ALTER FUNCTION "+pgx.Identifier{schema, touchFunction}.Sanitize()+"() SET SCHEMA "+Schema)
	return err
}

// sameSchema refuses what would make our tables in the seed's schema: a search
// path names it, as "$user" does for a user of that name.
func sameSchema(ctx context.Context, tx pgx.Tx, before string) error {
	var path []string
	if err := tx.QueryRow(ctx, "SELECT current_schemas(false)::text[]").Scan(&path); err != nil {
		return err
	}
	if slices.Contains(path, Schema) {
		return fmt.Errorf("the search_path of this connection holds the schema %s, which is to hold nothing but the tables of whatsapp-flows-server: "+
			"connect as another user, or with another search_path, such as %s", Schema, before)
	}
	return nil
}
