// Package doctor is the worker's part of `worker doctor`: its configuration, its
// Postgres, and what waits there to be delivered.
package doctor

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/doctor"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/worker/internal/store"
)

// Postgres is the database to look at.
type Postgres struct {
	URL string
	Now func() time.Time
	// Old is how old the oldest transaction may be; 0 is five minutes.
	Old time.Duration
	// Room tells the free and the whole room of the disk a directory of this
	// machine is on; an error if it cannot be told.
	Room func(dir string) (free, all uint64, err error)
}

// The names of the findings.
const (
	Reachable    = "postgres: reachable"
	Version      = "postgres: version"
	Writable     = "postgres: writable"
	Migrations   = "postgres: migrations"
	Durability   = "postgres: durability"
	Disk         = "postgres: disk"
	Oldest       = "postgres: oldest transaction"
	Connections  = "postgres: connections"
	Callbacks    = "callbacks: receivers"
	Queue        = "callbacks: queue"
	DeadEntries  = "intake: dead entries"
	UnusedTokens = "flows: tokens"
)

var after = []string{Version, Writable, Migrations, Durability, Disk, Oldest, Connections, Callbacks, Queue, DeadEntries, UnusedTokens}

// Check is all that is to be asked of it.
func (p Postgres) Check() doctor.Check {
	return doctor.Check{Name: Reachable, Within: 30 * time.Second, Run: p.run}
}

func (p Postgres) run(ctx context.Context) []doctor.Finding {
	before := p.Now()
	pool, err := store.Open(ctx, p.URL, 2)
	if err != nil {
		return silent(doctor.Failed(Reachable, oneLine(err), "nothing is stored or delivered; answers wait in Redis", remedy(err)))
	}
	defer pool.Close()
	opened := p.Now()
	var at time.Time
	if err := pool.QueryRow(ctx, "SELECT clock_timestamp()").Scan(&at); err != nil {
		return silent(unasked(Reachable, err))
	}
	o := pool.Config().ConnConfig
	found := []doctor.Finding{
		doctor.Fine(Reachable, "%s:%d, database %s, connected in %s", o.Host, o.Port, o.Database, opened.Sub(before).Round(100*time.Microsecond)),
		doctor.Clock("Postgres", opened, p.Now(), at, 0),
		version(ctx, pool), writable(ctx, pool),
	}
	migrations, current := migrated(ctx, pool)
	found = append(found, migrations, durability(ctx, pool), p.disk(ctx, pool), p.oldest(ctx, pool), connections(ctx, pool))
	if !current {
		for _, name := range after[len(after)-4:] {
			found = append(found, doctor.Skip(name, "the database is not up to date"))
		}
		return found
	}
	return append(found, receivers(ctx, pool), queue(ctx, pool), deadEntries(ctx, pool), tokens(ctx, pool))
}

// silent is all that can be said of a Postgres that does not answer.
func silent(why doctor.Finding) []doctor.Finding {
	found := []doctor.Finding{why}
	for _, name := range after {
		found = append(found, doctor.Skip(name, "Postgres does not answer"))
	}
	return found
}

func remedy(err error) string {
	var refused *pgconn.PgError
	if errors.As(err, &refused) {
		switch {
		case strings.HasPrefix(refused.Code, "28"):
			return "mend user and password in DATABASE_URL, or pg_hba.conf"
		case refused.Code == "3D000":
			return "create the database, or mend its name in DATABASE_URL"
		case refused.Code == "53300":
			return "raise max_connections, or lower DB_POOL_MAX"
		}
	}
	return "start Postgres, and compare host and port in DATABASE_URL"
}

func unasked(name string, err error) doctor.Finding {
	return doctor.Failed(name, oneLine(err), "it cannot be judged", "see Postgres's log; may the user of DATABASE_URL read this?")
}

const oldestVersion = 150000

func version(ctx context.Context, pool *pgxpool.Pool) doctor.Finding {
	var number int
	var text string
	if err := pool.QueryRow(ctx, "SELECT current_setting('server_version_num')::int, current_setting('server_version')").Scan(&number, &text); err != nil {
		return unasked(Version, err)
	}
	if number < oldestVersion {
		return doctor.Failed(Version, "Postgres "+text, "the worker uses what Postgres has since 15", "upgrade to Postgres 15 or newer")
	}
	return doctor.Fine(Version, "Postgres %s", text)
}

func writable(ctx context.Context, pool *pgxpool.Pool) doctor.Finding {
	var standby bool
	var readOnly string
	if err := pool.QueryRow(ctx, "SELECT pg_is_in_recovery(), current_setting('default_transaction_read_only')").Scan(&standby, &readOnly); err != nil {
		return unasked(Writable, err)
	}
	switch {
	case standby:
		return doctor.Failed(Writable, "a standby", "nothing can be stored", "name the primary in DATABASE_URL")
	case readOnly == "on":
		return doctor.Failed(Writable, "default_transaction_read_only is on", "nothing can be stored", "turn it off for this database and user; is the disk full, or a failover under way?")
	}
	return doctor.Fine(Writable, "yes")
}

// migrated says too whether the tables are those of this worker.
func migrated(ctx context.Context, pool *pgxpool.Pool) (doctor.Finding, bool) {
	missing, unknown, err := store.Behind(ctx, pool)
	switch {
	case errors.Is(err, store.ErrSeedDatabase):
		return doctor.Failed(Migrations, "the tables of whatsapp-flows-server", "the worker does not start", "see `worker import --help`, or give it a database of its own"), false
	case err != nil:
		return unasked(Migrations, err), false
	case len(missing) > 0:
		return doctor.Failed(Migrations, "missing: "+strings.Join(missing, ", "), "commands of this version do not work", "`worker migrate up`, which `worker serve` does at its start"), false
	case unknown > 0:
		return doctor.Warned(Migrations, fmt.Sprintf("the database is at migration %d, which this worker does not know", unknown), "a newer worker has used it; this one may fail", "run the newer version everywhere"), true
	}
	return doctor.Fine(Migrations, "all applied"), true
}

func durability(ctx context.Context, pool *pgxpool.Pool) doctor.Finding {
	var fsync, pages, commit string
	err := pool.QueryRow(ctx, "SELECT current_setting('fsync'), current_setting('full_page_writes'), current_setting('synchronous_commit')").Scan(&fsync, &pages, &commit)
	if err != nil {
		return unasked(Durability, err)
	}
	evidence := fmt.Sprintf("fsync %s, full_page_writes %s, synchronous_commit %s", fsync, pages, commit)
	switch {
	case fsync == "off", pages == "off":
		return doctor.Failed(Durability, evidence, "a crash of the machine may destroy the database", "turn both on in postgresql.conf")
	case commit == "off":
		return doctor.Warned(Durability, evidence, "a crash loses the last commits, while Redis has already deleted what was in them", "turn synchronous_commit on for this database and user")
	}
	return doctor.Fine(Durability, "%s", evidence)
}

// The free part of a disk, in percent, from which it counts.
const (
	roomWarn = 15
	roomFail = 5

	// roomEnough is no worry, however small a part of the disk it is: a few million
	// conversations.
	roomEnough = 24 << 30
)

// disk tells how large the database is, and how much room is left where that can
// be seen: when the server runs on this machine and shows where its data is.
func (p Postgres) disk(ctx context.Context, pool *pgxpool.Pool) doctor.Finding {
	var size int64
	if err := pool.QueryRow(ctx, "SELECT pg_database_size(current_database())").Scan(&size); err != nil {
		return unasked(Disk, err)
	}
	evidence := "the database has " + bytes(uint64(max(size, 0)))
	if !here(pool.Config().ConnConfig.Host) {
		return doctor.Skip(Disk, evidence+"; the server is on another machine: see the room left there")
	}
	var dir string
	if err := pool.QueryRow(ctx, "SHOW data_directory").Scan(&dir); err != nil {
		return doctor.Skip(Disk, evidence+"; the room left cannot be seen with this user, unless it is granted pg_read_all_settings")
	}
	free, all, err := p.Room(dir)
	if err != nil || all == 0 {
		return doctor.Skip(Disk, evidence+"; the room left cannot be seen from here")
	}
	evidence += fmt.Sprintf(", %s of %s are free", bytes(free), bytes(all))
	const meaning = "Postgres stops when its disk is full; answers then wait in Redis until that is full too"
	const fix = "make the disk larger, or keep less (RETENTION_EVENTS_DAYS, RETENTION_ATTEMPTS_DAYS)"
	switch {
	case free*100 < all*roomFail && free < roomEnough/4:
		return doctor.Failed(Disk, evidence, meaning, fix)
	case free*100 < all*roomWarn && free < roomEnough:
		return doctor.Warned(Disk, evidence, meaning, fix)
	}
	return doctor.Fine(Disk, "%s", evidence)
}

// here says whether a server is on this machine: a directory of the same name here
// is another one otherwise.
func here(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || strings.HasPrefix(host, "/") || ip != nil && ip.IsLoopback()
}

func bytes(n uint64) string {
	if n >= 1<<30 {
		return fmt.Sprintf("%.1f GiB", float64(n)/(1<<30))
	}
	return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20))
}

const oldAfter = 5 * time.Minute

func (p Postgres) oldest(ctx context.Context, pool *pgxpool.Pool) doctor.Finding {
	limit := p.Old
	if limit <= 0 {
		limit = oldAfter
	}
	who, age, err := store.OldestTransaction(ctx, pool)
	switch {
	case err != nil:
		return unasked(Oldest, err)
	case age >= limit:
		return doctor.Warned(Oldest, fmt.Sprintf("%s for %s", who, age.Round(time.Second)), "Postgres cannot remove old row versions, which slows the delivery queue down more and more",
			"let it end, or end it with pg_terminate_backend(pid)")
	}
	evidence := "none"
	if who != "" {
		evidence = fmt.Sprintf("%s for %s", who, age.Round(time.Second))
	}
	// Postgres shows what others do to members of pg_monitor only.
	var hidden int
	if err := pool.QueryRow(ctx, "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND usesysid IS NOT NULL AND backend_type IS NULL").Scan(&hidden); err != nil {
		return unasked(Oldest, err)
	}
	if hidden > 0 {
		return doctor.Skip(Oldest, fmt.Sprintf("%s; those of %d sessions of other users cannot be seen, unless this user is granted pg_monitor", evidence, hidden))
	}
	return doctor.Fine(Oldest, "%s", evidence)
}

// fullConnections is the share of max_connections, in percent, from which it
// counts.
const fullConnections = 90

func connections(ctx context.Context, pool *pgxpool.Pool) doctor.Finding {
	var used, most int
	// What a session of another user is may be hidden; that it has a database is not.
	err := pool.QueryRow(ctx, `SELECT (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend' OR backend_type IS NULL AND usesysid IS NOT NULL),
		current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int`).Scan(&used, &most)
	if err != nil {
		return unasked(Connections, err)
	}
	evidence := fmt.Sprintf("%d of %d used", used, most)
	if used*100 >= most*fullConnections {
		return doctor.Warned(Connections, evidence, "one more worker may not start", "raise max_connections, or lower DB_POOL_MAX; see pg_stat_activity for who has them")
	}
	return doctor.Fine(Connections, "%s", evidence)
}

func oneLine(err error) string { return strings.Join(strings.Fields(err.Error()), " ") }
