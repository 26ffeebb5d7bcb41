package testkit

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgxpool"
)

// SeedDatabaseURL is a database of whatsapp-flows-server in which users have
// answered the flow.
func SeedDatabaseURL(t testing.TB, flowJSON string, users int) string {
	t.Helper()
	url := EmptyDatabaseURL(t)
	execute(t, url, SeedSchema)
	execute(t, url, strings.NewReplacer("$1", "'"+strings.ReplaceAll(flowJSON, "'", "''")+"'", "$2", fmt.Sprint(users)).Replace(SeedRows))
	return url
}

// Contents is a hash of every row of every table in each schema, by
// "schema.table", so that two moments can be compared.
func Contents(t testing.TB, pool *pgxpool.Pool) map[string]string {
	t.Helper()
	ctx := context.Background()
	rows, err := pool.Query(ctx, `SELECT quote_ident(n.nspname) || '.' || quote_ident(c.relname) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
		WHERE c.relkind IN ('r', 'p') AND n.nspname NOT IN ('pg_catalog', 'information_schema') ORDER BY 1`)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for rows.Next() {
		var name string
		if err := rows.Scan(&name); err != nil {
			t.Fatal(err)
		}
		names = append(names, name)
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	all := make(map[string]string, len(names))
	for _, name := range names {
		var hash string
		err := pool.QueryRow(ctx, "SELECT count(*) || ' ' || coalesce(md5(string_agg(r::text, E'\n' ORDER BY r::text)), '') FROM "+name+" r").Scan(&hash)
		if err != nil {
			t.Fatal(err)
		}
		all[name] = hash
	}
	return all
}
