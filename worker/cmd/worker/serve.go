package main

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/redis/go-redis/v9"
	"go.uber.org/zap"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/worker/internal/api"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/worker/internal/callback"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/worker/internal/edges"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/worker/internal/endpoint"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/worker/internal/erase"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/worker/internal/ingest"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/worker/internal/lifecycle"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/worker/internal/publish"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/worker/internal/server"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/worker/internal/settings"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/worker/internal/store"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/worker/internal/stream"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/worker/internal/tracing"
)

// stopWithin is how long the parts may take to stop: more than the longest
// attempt, and with a second each for the name and the server less than 25 s.
const stopWithin = 22 * time.Second

// apiConnections are the API's own connections to Postgres: whatever its clients
// do, those of the writers and of the deliveries stay free. Exports have one each
// besides.
const apiConnections = 8

// apiStatement is how many milliseconds Postgres works on a statement of the API:
// a little longer than anybody waits for its answer.
const apiStatement = "25000"

// apiPing is how long a connection of the API that was idle may take to answer.
const apiPing = 5 * time.Second

type serveCommand struct{}

// Run serves until a signal comes.
func (serveCommand) Run(p *process) error {
	s, err := settings.ReadServe(p.source)
	if err != nil {
		return err
	}
	tuneMemory()
	log := newLog(p.stderr, s.LogLevel)
	defer log.Sync() //nolint:errcheck // stderr of a terminal cannot be synced
	redis.SetLogger(redisLog{log.Named("redis")})

	w := newWorker(s, log)
	defer w.stop()
	if err := w.start(p.ctx); err != nil {
		if errors.Is(err, errStopped) {
			return nil
		}
		return err
	}
	select {
	case <-p.ctx.Done():
		log.Info("stopping")
		return nil
	case err := <-w.group.Fatal():
		return err
	}
}

// worker is everything that `worker serve` runs.
type worker struct {
	settings settings.Serve
	log      *zap.Logger
	group    *lifecycle.Group
	registry *prometheus.Registry

	server  *server.Server
	redis   redis.UniversalClient
	pool    atomic.Pointer[pgxpool.Pool] // nil until Postgres answered
	apiPool *pgxpool.Pool
	readers atomic.Pointer[stream.Readers]
	name    *store.Name
	tracing *tracing.Tracing // nil unless traces are asked for
}

func newWorker(s settings.Serve, log *zap.Logger) *worker {
	w := &worker{settings: s, log: log, group: lifecycle.New(log), registry: prometheus.NewRegistry()}
	w.registry.MustRegister(poolMetrics{&w.pool})
	w.registry.MustRegister(w.readiness()...)
	w.registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return w
}

// start opens the address first, so that probes see a live process that is not
// ready, then Postgres, which must be there, then everything else. Redis may
// come later.
func (w *worker) start(ctx context.Context) error {
	w.redis = redis.NewUniversalClient(commandOptions(w.settings.Redis))
	var err error
	w.server, err = server.Listen(w.settings.Listen, server.Config{
		Log: w.log.Named("http"), Registry: w.registry, Version: buildVersion(), Environment: w.settings.Environment,
		Postgres: w.pingPostgres, Redis: func(ctx context.Context) error { return w.redis.Ping(ctx).Err() },
		Edges: func(ctx context.Context) ([]edges.Edge, error) {
			return edges.Running(ctx, w.redis, w.settings.Redis.Keys.Edges())
		},
		Progress: w.progress, Failing: w.group.Failing, Stopping: w.group.Stopping,
	})
	if err != nil {
		return fmt.Errorf("%w: set LISTEN_ADDR, or HOST and PORT, to a free address", err)
	}
	pool, err := openPostgres(ctx, w.settings.Database, w.log)
	if err != nil {
		return err
	}
	w.pool.Store(pool)
	if err := w.prepare(ctx, pool); err != nil {
		return err
	}
	return w.startParts(ctx, pool)
}

// prepare brings the database to where the parts expect it.
func (w *worker) prepare(ctx context.Context, pool *pgxpool.Pool) error {
	if err := store.Migrate(ctx, pool, w.log); err != nil {
		return stopped(ctx, err)
	}
	if err := endpoint.Ensure(ctx, pool, w.settings.Callback.Environment); err != nil {
		return stopped(ctx, err)
	}
	name, err := store.ClaimName(ctx, pool, w.settings.Name)
	if err != nil {
		return stopped(ctx, err)
	}
	w.name = name
	return nil
}

func (w *worker) startParts(ctx context.Context, pool *pgxpool.Pool) error {
	s, log := w.settings, w.log
	w.tracing = tracing.Start(buildVersion(), w.name.Name, log.Named("tracing"))
	publisher := publish.New(pool, w.redis, s.Redis.Keys, log.Named("publish"))
	deliverer := callback.New(callback.Config{
		Pool: pool, Worker: w.name.Name, Log: log.Named("callback"), Registry: w.registry, AllowNetworks: s.Callback.AllowNetworks,
		Trace: attemptTrace(w.tracing),
	})
	writer := ingest.NewWriter(pool, ingest.Config{
		Accounts: s.Accounts.Of, Nudge: deliverer.Nudge, Log: log.Named("ingest"), Metrics: w.registry,
		Oldest: stream.Oldest(w.redis, s.Redis.Keys), Retention: s.Retention,
	})
	if err := writer.Prepare(ctx); ctx.Err() != nil {
		return errStopped
	} else if err != nil {
		// Fails open: rows without a partition of their own go to the default
		// one and are moved when it is created, an hour from now at the latest.
		log.Warn("the partitions of the days ahead could not be created", zap.Error(err))
	}
	readers, err := stream.New(stream.Config{
		Redis: *s.Redis.Options(), Keys: s.Redis.Keys, Consumer: w.name.Name, Write: writer.Write,
		Stored: w.tracing.Stored, GroupCreated: publisher.Nudge, Log: log.Named("stream"), Metrics: w.registry,
	})
	if err != nil {
		return err
	}
	w.readers.Store(readers)

	// Before the first read, so that readers of a wrong number of streams never
	// begin. A Redis that is away is asked again by the publisher.
	var mismatch *publish.ShardMismatchError
	if err := publisher.CheckShards(ctx); errors.As(err, &mismatch) {
		return err
	} else if err != nil && ctx.Err() == nil {
		log.Warn("Redis does not answer: reading begins as soon as it does",
			zap.String("redis", s.Redis.Address()), zap.String("error", oneLine(err)))
	}
	// Before the parts: a worker that is ready has its API.
	if w.apiPool, err = pgxpool.NewWithConfig(ctx, apiConfig(pool)); err != nil {
		return stopped(ctx, err)
	}
	w.server.Mount(api.New(api.Config{
		Pool: w.apiPool, Log: log.Named("api"), Tokens: s.API.Tokens, Origins: s.API.Origins, Version: buildVersion(),
		Changed: publisher.Changed, Metrics: w.registry,
		Callbacks: s.Callback.Rules(), Pinger: pinger(w.apiPool, s.Callback.AllowNetworks), Redis: w.redis, Keys: s.Redis.Keys,
		Eraser: erase.New(erase.Config{Pool: w.apiPool, Redis: w.redis, Keys: s.Redis.Keys, Accounts: s.Accounts.Of, Log: log.Named("erase"), Metrics: w.registry}),
	}))
	for _, part := range []lifecycle.Part{
		{Name: "readers", Run: readers.Run},
		{Name: "maintenance", Run: writer.Maintain},
		{Name: "watch of Postgres", Run: store.NewWatch(pool, log.Named("store"), w.registry).Run},
		{Name: "deliveries", Run: deliverer.Run},
		{Name: "publisher", Run: publisher.Run},
	} {
		w.group.Start(part)
	}
	w.announce()
	return nil
}

// apiConfig is that of the writers' pool but for what is the API's own. A
// connection of the API that does not answer is no reason to give up the writers'.
func apiConfig(pool *pgxpool.Pool) *pgxpool.Config {
	own := store.Reading(pool)
	own.MaxConns = apiConnections
	own.ConnConfig.RuntimeParams["statement_timeout"] = apiStatement
	own.ShouldPing, own.PingTimeout = nil, apiPing
	return own
}

// announce says once how the worker is set, without secrets.
func (w *worker) announce() {
	s := w.settings
	callbacks := "none"
	if u, err := url.Parse(s.Callback.URL); err == nil && u.Host != "" {
		callbacks = u.Scheme + "://" + u.Host
	}
	w.log.Info("worker is serving",
		zap.String("version", buildVersion()), zap.String("listen", w.server.Address()), zap.String("worker", w.name.Name),
		zap.String("redis", s.Redis.Address()), zap.Int("shards", s.Redis.Keys.Shards()),
		zap.String("callbacks", callbacks), zap.Duration("callback_timeout", s.Callback.Timeout),
		zap.Int("callback_attempts", s.Callback.MaxAttempts), zap.Int("api_tokens", len(s.API.Tokens)),
		zap.Strings("cors_origins", s.API.Origins))
	if u, err := url.Parse(s.Callback.URL); err == nil {
		if err := callback.CheckHost(u.Hostname(), s.Callback.AllowNetworks); err != nil {
			w.log.Warn("no callback can be delivered", zap.Error(err))
		}
	}
	for _, t := range s.API.Tokens {
		if t.Weak() {
			w.log.Warn("a token of the API is so short that it may be guessed: set a longer one, such as `openssl rand -hex 32` makes", zap.String("token", t.Name))
		}
	}
	if s.Callback.URL == "" {
		w.log.Warn("CALLBACK_WEBHOOK_URL is not set: answers are stored and nothing is delivered")
	}
}

// stop ends in the order of the data: nothing more is read or claimed, what is
// in hand is finished and stored, the name is given up, then the connections.
func (w *worker) stop() {
	ctx, cancel := context.WithTimeout(context.Background(), stopWithin)
	defer cancel()
	if err := w.group.Stop(ctx); err != nil {
		w.log.Error("not everything in hand was finished: it is taken up again by the next worker", zap.Error(err))
	}
	var flushing sync.WaitGroup // the last spans, beside all that follows
	flushing.Go(w.tracing.Stop)
	defer flushing.Wait()
	if w.name != nil {
		w.name.Release()
	}
	if w.server != nil {
		closing, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		w.server.Stop(closing)
	}
	if w.redis != nil {
		_ = w.redis.Close()
	}
	if w.apiPool != nil && ctx.Err() == nil {
		w.apiPool.Close()
	}
	if pool := w.pool.Load(); pool != nil && ctx.Err() == nil {
		pool.Close() // waits for connections in use, of which there are none
	}
	w.log.Info("stopped")
}

func (w *worker) pingPostgres(ctx context.Context) error {
	pool := w.pool.Load()
	if pool == nil {
		return errors.New("not connected yet")
	}
	return pool.Ping(ctx)
}

func (w *worker) progress() time.Time {
	if readers := w.readers.Load(); readers != nil {
		return readers.Progress()
	}
	return time.Time{}
}

// stopped hides an error that only a signal caused.
func stopped(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return errStopped
	}
	return err
}
