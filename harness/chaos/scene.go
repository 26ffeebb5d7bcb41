package chaos

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/redis/go-redis/v9"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/harness/servers"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/harness/site"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/keyspace"
)

// Scene is one installation that a fault is injected into, and everybody in it.
type Scene struct {
	Short    bool // seconds and hundreds of events, not minutes and millions
	Long     bool // outages as long as the hours they stand for allow
	Stack    *servers.Stack
	Site     *site.Site
	Keys     keyspace.Keys
	Redis    redis.UniversalClient
	Producer *Producer
	Receiver *Receiver
	Verdict  *Verdict

	// MaxDuplicatePosts is the bar of the row: how often a receiver that had said
	// 2xx may be asked again. MaxExpired is how many leases may run out: those of
	// workers that were killed, and those that a lost Postgres granted unheard.
	// Lossy says that the row takes entries away itself
	// and accounts for them.
	MaxDuplicatePosts int
	MaxExpired        int
	Lossy             bool
	// Patience is how long the scene may take to settle after Run.
	Patience time.Duration

	options Options
	dir     string
	pool    *pgxpool.Pool
	db      database // the pool, or a transaction that is judged by itself
	workers []*Worker
	closers []func() error
}

// database is the scene's, or a transaction of it.
type database interface {
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
	Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error)
}

// newScene starts the servers of a fault and everybody but the workers.
func newScene(ctx context.Context, f Fault, o Options, v *Verdict) (s *Scene, err error) {
	s = &Scene{Short: o.Short, Long: o.Long, Verdict: v, options: o, Patience: 5 * time.Minute}
	if s.Short {
		s.Patience = time.Minute
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.close())
		}
	}()
	if s.Stack, err = servers.Start(ctx, servers.Options{Private: true, Durable: true, Redis: f.Topology, Say: o.Say}); err != nil {
		return s, err
	}
	s.Defer(s.Stack.Close)
	bin := o.Bin
	if f.Failpoints {
		if bin, err = o.builds.failpoints(ctx); err != nil {
			return s, err
		}
	}
	if s.Site, err = site.New(ctx, site.Options{Root: o.Root, Bin: bin, Servers: s.Stack}); err != nil {
		return s, err
	}
	s.Defer(s.Site.Close)
	if s.dir, err = os.MkdirTemp("", "waf-chaos-"); err != nil {
		return s, err
	}
	s.Defer(func() error { return os.RemoveAll(s.dir) })
	s.Keys = keyspace.New(s.Site.Prefix, 0)
	if s.Producer, err = newProducer(s.Stack.RedisURL, s.Keys); err != nil {
		return s, err
	}
	s.Defer(s.Producer.close)
	s.Redis = s.Producer.client
	if s.Receiver, err = newReceiver("127.0.0.1:0", s.Site.Secrets.CallbackSecret); err != nil {
		return s, err
	}
	s.Defer(s.Receiver.close)
	if s.pool, err = pgxpool.New(ctx, s.Site.DatabaseURL); err != nil {
		return s, err
	}
	s.db = s.pool
	s.Defer(func() error { s.pool.Close(); return nil })
	s.Defer(s.endWorkers)
	return s, nil
}

// Defer has do called when the scene ends, last first.
func (s *Scene) Defer(do func() error) { s.closers = append(s.closers, do) }

func (s *Scene) close() error {
	var errs []error
	for i := len(s.closers) - 1; i >= 0; i-- {
		errs = append(errs, s.closers[i]())
	}
	s.closers = nil
	http.DefaultClient.CloseIdleConnections() // to the workers' metrics
	return errors.Join(errs...)
}

func (s *Scene) endWorkers() error {
	var errs []error
	for _, w := range s.workers {
		if w.running() {
			errs = append(errs, w.Process.End(syscall.SIGTERM, 30*time.Second))
		}
		if w.Process != nil {
			errs = append(errs, w.Process.Kill())
		}
	}
	return errors.Join(errs...)
}

// Rate is how many events a second the load of a row is.
func (s *Scene) Rate() int {
	if s.Short {
		return 400
	}
	return 2000
}

// Pick is one of two values: that of the short form, or that of the full one.
func Pick[T any](s *Scene, short, full T) T {
	if s.Short {
		return short
	}
	return full
}

// Miss says that a bar was missed.
func (s *Scene) Miss(format string, args ...any) {
	s.Verdict.Missed = append(s.Verdict.Missed, fmt.Sprintf(format, args...))
}

// Note keeps something that was measured.
func (s *Scene) Note(format string, args ...any) {
	s.Verdict.Notes = append(s.Verdict.Notes, fmt.Sprintf(format, args...))
}

// Repeats allows so many callbacks to come again and as many leases to run out: of
// each killed worker those that it had under way.
func (s *Scene) Repeats(most int) { s.MaxDuplicatePosts, s.MaxExpired = most, most }

// Recovered notes how long a recovery took; the longest one counts.
func (s *Scene) Recovered(took time.Duration) { s.Verdict.Recovery = max(s.Verdict.Recovery, took) }

// Number asks Postgres for one.
func (s *Scene) Number(ctx context.Context, sql string, args ...any) (n int64, err error) {
	err = s.db.QueryRow(ctx, sql, args...).Scan(&n)
	if err != nil {
		err = fmt.Errorf("asking Postgres: %w", err)
	}
	return n, err
}

// Exec changes something in Postgres.
func (s *Scene) Exec(ctx context.Context, sql string, args ...any) error {
	_, err := s.db.Exec(ctx, sql, args...)
	return err
}

// Session is a connection of its own to the scene's database.
func (s *Scene) Session(ctx context.Context) (*pgx.Conn, error) {
	return pgx.Connect(ctx, s.Site.DatabaseURL)
}

// ReadUp returns when every stream is empty and nothing is pending, and is how
// long that took.
func (s *Scene) ReadUp(ctx context.Context, patience time.Duration) (time.Duration, error) {
	return until(ctx, patience, "everything is read and acknowledged", func(ctx context.Context) error {
		entries, pending, err := s.backlog(ctx)
		if err == nil && entries+pending > 0 {
			err = fmt.Errorf("%d entries are on the streams, %d pending", entries, pending)
		}
		return err
	})
}

// backlog counts the entries on the streams, and those that are pending.
func (s *Scene) backlog(ctx context.Context) (entries, pending int64, err error) {
	streams := s.streams()
	var lengths []*redis.IntCmd
	var pendings []*redis.XPendingCmd
	_, err = s.Redis.Pipelined(ctx, func(p redis.Pipeliner) error {
		for _, stream := range streams {
			lengths = append(lengths, p.XLen(ctx, stream))
			pendings = append(pendings, p.XPending(ctx, stream, keyspace.Group))
		}
		return nil
	})
	if err != nil && !redis.HasErrorPrefix(err, "NOGROUP") {
		return 0, 0, err
	}
	for i := range streams {
		if err := lengths[i].Err(); err != nil {
			return 0, 0, err
		}
		entries += lengths[i].Val()
		if p, err := pendings[i].Result(); err == nil {
			pending += p.Count
		} else if !redis.HasErrorPrefix(err, "NOGROUP") {
			return 0, 0, err
		}
	}
	return entries, pending, nil
}

// removed counts the entries that have left the streams since these were made.
func (s *Scene) removed(ctx context.Context) (n int64, err error) {
	for _, stream := range s.streams() {
		info, err := s.Redis.XInfoStream(ctx, stream).Result()
		if redis.HasErrorPrefix(err, "ERR no such key") {
			continue
		} else if err != nil {
			return 0, err
		}
		n += info.EntriesAdded - info.Length
	}
	return n, nil
}

func (s *Scene) streams() []string {
	var all []string
	for shard := range s.Keys.Shards() {
		all = append(all, s.Keys.Events(shard), s.Keys.LargeEvents(shard))
	}
	return all
}

// Settle lets everything come to rest: what is appended is read, what is due is
// delivered.
func (s *Scene) Settle(ctx context.Context) error {
	appending, cancel := context.WithTimeout(ctx, s.Patience)
	defer cancel()
	if err := s.Producer.Finish(appending); err != nil {
		return err
	}
	if _, err := s.ReadUp(ctx, s.Patience); err != nil {
		return err
	}
	_, err := until(ctx, s.Patience, "everything is delivered", func(ctx context.Context) error {
		n, err := s.Number(ctx, "SELECT count(*) FROM deliveries d JOIN callback_endpoints e ON e.id = d.endpoint_id WHERE d.state IN ('due', 'leased') AND e.url = $1", s.Receiver.URL())
		if err == nil && n > 0 {
			err = fmt.Errorf("%d deliveries are open", n)
		}
		return err
	})
	return err
}
