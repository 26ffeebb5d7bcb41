package publish

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/redis/go-redis/v9"
	"go.uber.org/zap"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/flow"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/keyspace"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/worker/internal/lifecycle"
)

const (
	// compareEvery is how often the flows of Postgres are held against Redis.
	compareEvery = 2 * time.Second

	// publishWithin bounds one round: a server that went without a word is
	// noticed by the next one, not when TCP gives up.
	publishWithin = 20 * time.Second

	// sessionLife is how long after its last step a session may go on: the
	// longest session_ttl anyone is expected to set.
	sessionLife = 7 * 24 * time.Hour
)

// Publisher keeps Redis in step with the flows of Postgres.
type Publisher struct {
	pool  *pgxpool.Pool
	redis redis.UniversalClient
	keys  keyspace.Keys
	log   *zap.Logger
	nudge chan struct{}
	// changed asks for a round without reading the sessions again.
	changed chan struct{}

	// sessions are the definitions that open sessions may be on: a session ends
	// on the one it began with. They are read at the start and when Redis lost
	// its data, for that takes a walk through every session; what is published
	// from then on is added. nil: to be read.
	sessions map[string]bool
	broken   map[string]bool // stored definitions that cannot be read, said once
}

// New returns a publisher that has not begun.
func New(pool *pgxpool.Pool, client redis.UniversalClient, keys keyspace.Keys, log *zap.Logger) *Publisher {
	return &Publisher{pool: pool, redis: client, keys: keys, log: log,
		nudge: make(chan struct{}, 1), changed: make(chan struct{}, 1), broken: make(map[string]bool)}
}

// Changed says that a change of a flow was committed, which is to reach Redis at
// once: other workers' changes do so within two seconds. It never blocks.
func (p *Publisher) Changed() {
	select {
	case p.changed <- struct{}{}:
	default:
	}
}

// Nudge says that Redis may have lost its data. It never blocks.
func (p *Publisher) Nudge() {
	select {
	case p.nudge <- struct{}{}:
	default:
	}
}

// Run publishes until ctx ends. A Redis used with another number of shards is
// fatal; every other failure is tried again.
func (p *Publisher) Run(ctx context.Context) error {
	ticker := time.NewTicker(compareEvery)
	defer ticker.Stop()
	failing := false
	for {
		round, cancel := context.WithTimeout(ctx, publishWithin)
		err := p.Publish(round)
		cancel()
		var mismatch *ShardMismatchError
		switch {
		case errors.As(err, &mismatch):
			return lifecycle.Fatal(err)
		case err != nil && ctx.Err() == nil && !failing:
			p.log.Warn("flows cannot be published, trying again every 2 s", zap.Error(err))
			failing = true
		case err == nil && failing:
			p.log.Info("flows are published again")
			failing = false
		}
		select {
		case <-ctx.Done():
			return nil
		case <-p.nudge:
			p.sessions = nil
		case <-p.changed:
		case <-ticker.C:
		}
	}
}

// replaceField sets a field of a hash if it still holds what was read, where a
// field that is not there counts as empty. Of several workers that publish at
// once, one that read Postgres earlier must not undo what one that read it later
// has written.
var replaceField = redis.NewScript(`
	if (redis.call('HGET', KEYS[1], ARGV[1]) or '') ~= ARGV[2] then return false end
	redis.call('HSET', KEYS[1], ARGV[1], ARGV[3])
	return 1`)

// Publish makes Redis agree with Postgres once: the number of shards, the
// definitions of every active flow and open session, then the index. Fields of
// the index that Postgres does not know are left alone: only a tombstone
// unloads a flow, one that was deleted, set inactive or renamed.
func (p *Publisher) Publish(ctx context.Context) error {
	if err := p.CheckShards(ctx); err != nil {
		return err
	}
	// The index first: what another process has published is committed, so what
	// is read of Postgres afterwards is never older.
	index, err := p.redis.HGetAll(ctx, p.keys.Index()).Result()
	if err != nil {
		return fmt.Errorf("reading the index of flows in Redis: %w", err)
	}
	wanted, err := p.wanted(ctx)
	if err != nil {
		return fmt.Errorf("reading the flows: %w", err)
	}
	if p.sessions == nil || len(index) == 0 && len(wanted) > 0 {
		if err := p.readSessions(ctx); err != nil {
			return fmt.Errorf("reading the definitions of open sessions: %w", err)
		}
	}
	present, err := p.putDefinitions(ctx, wanted)
	if err != nil {
		return err
	}
	for field, hash := range wanted {
		// A definition that is not there must not be named: edges would look
		// for it in vain.
		if index[field] == hash || (hash != keyspace.Tombstone && !present[hash]) {
			continue
		}
		if hash == keyspace.Tombstone && index[field] == "" {
			continue // never published: nothing to unload
		}
		replaced, err := replaceField.Run(ctx, p.redis, []string{p.keys.Index()}, field, index[field], hash).Bool()
		if err != nil && !errors.Is(err, redis.Nil) {
			return fmt.Errorf("writing the index of flows: %w", err)
		}
		if !replaced {
			continue // another worker was here, and knows no less
		}
		// Edges that miss the message read the index every second.
		if err := p.redis.Publish(ctx, p.keys.Changed(), field).Err(); err != nil {
			return fmt.Errorf("announcing a flow: %w", err)
		}
		p.log.Info("flow published", zap.String("flow", field), zap.String("definition", hash))
	}
	return nil
}

// wanted is the index as Postgres has it: a deprecated flow still serves those
// who have it open; an inactive or deleted one, or one without a version that
// can run, serves nobody.
func (p *Publisher) wanted(ctx context.Context) (map[string]string, error) {
	const sql = `
		SELECT account, name, $1 FROM flow_former_names
		UNION ALL
		SELECT f.account, f.name, CASE WHEN f.deleted_at IS NULL AND f.status <> 'inactive' THEN coalesce(v.definition, $1) ELSE $1 END
		FROM (SELECT DISTINCT ON (account, name) * FROM flows ORDER BY account, name, deleted_at DESC NULLS FIRST) f
		LEFT JOIN flow_versions v ON v.account = f.account AND v.flow_id = f.id AND v.version = f.version`
	rows, err := p.pool.Query(ctx, sql, keyspace.Tombstone)
	if err != nil {
		return nil, err
	}
	wanted := make(map[string]string)
	var account, name, hash string
	_, err = pgx.ForEachRow(rows, []any{&account, &name, &hash}, func() error {
		wanted[keyspace.IndexField(account, name)] = hash
		return nil
	})
	return wanted, err
}

func (p *Publisher) readSessions(ctx context.Context) error {
	const sql = `SELECT DISTINCT definition FROM flow_sessions
		WHERE status = 'active' AND definition IS NOT NULL AND last_activity_at > now() - make_interval(secs => $1)`
	rows, err := p.pool.Query(ctx, sql, sessionLife.Seconds())
	if err != nil {
		return err
	}
	sessions := make(map[string]bool)
	var hash string
	if _, err := pgx.ForEachRow(rows, []any{&hash}, func() error { sessions[hash] = true; return nil }); err != nil {
		return err
	}
	p.sessions = sessions
	return nil
}

// putDefinitions writes the definitions that Redis lacks and returns those it
// has.
func (p *Publisher) putDefinitions(ctx context.Context, wanted map[string]string) (map[string]bool, error) {
	for _, hash := range wanted {
		if hash != keyspace.Tombstone {
			p.sessions[hash] = true
		}
	}
	needed := make(map[string]*redis.IntCmd, len(p.sessions))
	pipe := p.redis.Pipeline()
	for hash := range p.sessions {
		needed[hash] = pipe.Exists(ctx, p.keys.Definition(hash))
	}
	if len(needed) > 0 {
		if _, err := pipe.Exec(ctx); err != nil {
			return nil, fmt.Errorf("looking for definitions in Redis: %w", err)
		}
	}
	present := make(map[string]bool, len(needed))
	var missing []string
	for hash, exists := range needed {
		if present[hash] = exists.Val() > 0; !present[hash] {
			missing = append(missing, hash)
		}
	}
	if len(missing) == 0 {
		return present, nil
	}
	documents, err := p.documents(ctx, missing)
	if err != nil {
		return nil, err
	}
	for hash, document := range documents {
		if err := p.redis.Set(ctx, p.keys.Definition(hash), document, 0).Err(); err != nil {
			return nil, fmt.Errorf("writing a definition: %w", err)
		}
		present[hash] = true
	}
	return present, nil
}

// documents makes the published form of stored versions. One whose content is
// not what was stored is said once and passed over: the others must not wait for it.
func (p *Publisher) documents(ctx context.Context, hashes []string) (map[string][]byte, error) {
	const sql = `SELECT DISTINCT ON (definition) definition, flow_json, logic FROM flow_versions WHERE definition = ANY($1)`
	rows, err := p.pool.Query(ctx, sql, hashes)
	if err != nil {
		return nil, fmt.Errorf("reading definitions: %w", err)
	}
	documents := make(map[string][]byte, len(hashes))
	var hash string
	var flowJSON, logic []byte
	_, err = pgx.ForEachRow(rows, []any{&hash, &flowJSON, &logic}, func() error {
		// Only what could be loaded has been given a hash.
		document, actual, err := flow.EncodeDocument(flowJSON, logic)
		if err == nil && actual != hash {
			err = fmt.Errorf("its content has the hash %s", actual)
		}
		if err != nil {
			if !p.broken[hash] {
				p.broken[hash] = true
				p.log.Error("a stored definition cannot be published", zap.String("definition", hash), zap.Error(err))
			}
			return nil
		}
		documents[hash] = document
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("reading definitions: %w", err)
	}
	return documents, nil
}
