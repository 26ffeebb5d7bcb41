package caddymodule

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/redis/go-redis/v9"
	"go.uber.org/zap"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/caddymodule/internal/state"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/keyspace"
)

const (
	// refreshEvery is how often the index of definitions is read, besides the
	// announcements of changes: a change is in use within a second even when
	// its announcement is lost.
	refreshEvery = time.Second

	// shardCheckBudget bounds how long Start waits for Redis.
	shardCheckBudget = 2 * time.Second
)

// closeGrace is how long a client outlives the configuration that used it last.
// Caddy cleans up an old configuration while its requests are still running;
// a flow request ends within 10 s and a webhook within 5 s.
var closeGrace = 30 * time.Second

// shardMismatch is the error of a Redis that was set up with another number of
// shards.
type shardMismatch = state.ShardMismatchError

type prefixedKeys struct {
	keyspace.Keys
	prefix string
}

var backends = caddy.NewUsagePool()

func init() {
	// The client's logger is one for the process and not guarded by a lock, so
	// it is set before anything can use it.
	redis.SetLogger(clientLogger{})
}

// backend is one Redis with all that must survive a reload: the client, the
// store with its running numbers, and the definitions read from it. It holds
// nothing of one configuration: no logger, no metrics, no context.
type backend struct {
	client  redis.UniversalClient
	keys    keyspace.Keys
	store   *state.Store
	catalog *catalog
	where   string

	starting sync.Once
	cancel   context.CancelFunc
	ctx      context.Context
	running  sync.WaitGroup

	up         atomic.Bool
	checked    atomic.Bool                   // the number of shards was found right
	mismatched atomic.Pointer[shardMismatch] // the number of shards was found wrong
	reported   atomic.Bool                   // … and that was logged
}

// acquireBackend returns the backend of these settings, new or shared. It must
// be released once with the key it returns.
func acquireBackend(options redisOptions, keys prefixedKeys) (*backend, string, error) {
	options.Prefix, options.Shards = keys.prefix, keys.Shards()
	key := options.poolKey()
	value, _, err := backends.LoadOrNew(key, func() (caddy.Destructor, error) {
		client, err := options.client()
		if err != nil {
			return nil, err
		}
		ctx, cancel := context.WithCancel(context.Background())
		return &backend{
			client: client, keys: keys.Keys, where: options.where(),
			store: state.NewStore(client, keys.Keys, state.Options{
				Wait: options.Wait, WaitTimeout: options.WaitTimeout, Now: time.Now,
			}),
			catalog: catalogOf(options.where(), options.Prefix),
			ctx:     ctx, cancel: cancel,
		}, nil
	})
	if err != nil {
		return nil, "", err
	}
	return value.(*backend), key, nil
}

func releaseBackend(key string) error {
	_, err := backends.Delete(key)
	return err
}

// start launches the background work once. Of its errors only a *shardMismatch
// is final; with any other, Redis is tried again every second.
func (b *backend) start(ctx context.Context) error {
	var err error
	b.starting.Do(func() {
		ctx, cancel := context.WithTimeout(ctx, shardCheckBudget)
		defer cancel()
		if err = b.checkShards(ctx); b.mismatched.Load() != nil {
			return
		}
		b.running.Go(func() { b.store.Run(b.ctx) })
		b.running.Go(func() { b.watch(b.ctx) })
	})
	if mismatch := b.mismatched.Load(); mismatch != nil {
		return mismatch
	}
	if err == nil && !b.checked.Load() {
		err = errNotReached
	}
	return err
}

var errNotReached = errors.New("redis does not answer")

// checkShards compares the number of shards with that of the installation.
func (b *backend) checkShards(ctx context.Context) error {
	err := b.store.CheckShards(ctx)
	mismatch := new(shardMismatch)
	switch {
	case err == nil:
		b.checked.Store(true)
		b.mismatched.Store(nil)
		b.up.Store(true)
	case errors.As(err, &mismatch):
		b.mismatched.Store(mismatch)
		b.up.Store(true)
	default:
		b.up.Store(false)
	}
	return err
}

// usable says whether events may be written: not to a Redis of another number
// of shards, where the worker would look for them in vain.
func (b *backend) usable() error {
	if mismatch := b.mismatched.Load(); mismatch != nil {
		return mismatch
	}
	return nil
}

// watch keeps the definitions current until ctx ends, and lists this edge.
func (b *backend) watch(ctx context.Context) {
	changes := b.client.Subscribe(ctx, b.keys.Changed())
	defer changes.Close()
	announced := changes.Channel(redis.WithChannelSize(16))

	edge := b.announcer()
	defer edge.withdraw(ctx)

	ticker := time.NewTicker(refreshEvery)
	defer ticker.Stop()
	for {
		if b.refresh(ctx) {
			edge.announce(ctx)
		}
		select {
		case <-ctx.Done():
			return
		case <-announced:
		case <-ticker.C:
		}
	}
}

// refresh says whether Redis answered, with the right number of shards.
func (b *backend) refresh(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, 2*redisTimeout)
	defer cancel()
	if !b.checked.Load() {
		if err := b.checkShards(ctx); err != nil {
			if b.mismatched.Load() != nil && !b.reported.Swap(true) {
				caddy.Log().Named(appID).Error("flows and webhooks get 503", zap.Error(err))
			}
			return false
		}
		caddy.Log().Named(appID).Info("redis is reachable", zap.String("redis", b.where))
	}
	err := b.catalog.refresh(ctx, b.client, b.keys)
	b.up.Store(err == nil)
	if err != nil && b.ctx.Err() == nil {
		// It may come back empty, or be another one: look again at the shards.
		b.checked.Store(false)
	}
	return err == nil
}

// Destruct closes the client once no request can be using it any more.
func (b *backend) Destruct() error {
	if caddy.Exiting() {
		return b.close()
	}
	time.AfterFunc(closeGrace, func() { _ = b.close() })
	return nil
}

func (b *backend) close() error {
	b.cancel()
	b.running.Wait() // ends with a last mark, bounded by the client's timeouts
	return b.client.Close()
}

// clientLogger sends the client's own remarks, which would go to standard
// error, to Caddy's log. They hold addresses and network errors.
type clientLogger struct{}

func (clientLogger) Printf(_ context.Context, format string, v ...any) {
	if entry := caddy.Log().Named(appID+".redis").Check(zap.DebugLevel, "redis client"); entry != nil {
		entry.Write(zap.String("remark", fmt.Sprintf(format, v...)))
	}
}
