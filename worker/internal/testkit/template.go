package testkit

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io/fs"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"
	"go.uber.org/zap"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/migrations"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/worker/internal/store"
)

// templateLock is of whoever makes the template: the tests of several packages
// run at once on one server.
const templateLock = 0x74706c

var template struct {
	sync.Mutex
	name string
}

// migrated is a database that others are copied from, a tenth of the work of
// migrating each. It stays on the server, under the hash of the migrations.
func migrated(t testing.TB) string {
	t.Helper()
	template.Lock()
	defer template.Unlock()
	if template.name == "" {
		template.name = makeTemplate(t)
	}
	return template.name
}

func makeTemplate(t testing.TB) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	admin := required(t, "DATABASE_URL", "Postgres")
	conn, err := pgx.Connect(ctx, admin)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(ctx) //nolint:errcheck // its lock falls with it
	exec := func(sql string) {
		t.Helper()
		if _, err := conn.Exec(ctx, sql); err != nil {
			t.Fatal(err)
		}
	}
	exec(fmt.Sprintf("SELECT pg_advisory_lock(%d)", templateLock))
	name := "waf_template_" + migrationsHash(t)
	var made bool
	if err := conn.QueryRow(ctx, "SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1)", name).Scan(&made); err != nil {
		t.Fatal(err)
	}
	if made {
		return name
	}
	unfinished := name + "_unfinished" // of one that was killed, perhaps
	exec("DROP DATABASE IF EXISTS " + unfinished + " WITH (FORCE)")
	exec("CREATE DATABASE " + unfinished)
	pool, err := store.Open(ctx, named(t, admin, unfinished), 2)
	if err != nil {
		t.Fatal(err)
	}
	err = store.Migrate(ctx, pool, zap.NewNop())
	pool.Close()
	if err != nil {
		t.Fatal(err)
	}
	exec("ALTER DATABASE " + unfinished + " RENAME TO " + name)
	return name
}

func migrationsHash(t testing.TB) string {
	t.Helper()
	files, err := fs.Glob(migrations.FS, "*.sql")
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.New()
	for _, file := range files {
		content, err := fs.ReadFile(migrations.FS, file)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(sum, "%s %d\n%s", file, len(content), content)
	}
	return fmt.Sprintf("%x", sum.Sum(nil)[:8])
}
