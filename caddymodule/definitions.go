package caddymodule

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"sync"
	"sync/atomic"

	"github.com/caddyserver/caddy/v2"
	"github.com/redis/go-redis/v9"
	"go.uber.org/zap"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/flow"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/keyspace"
)

// loaded are all definitions this process has ever read, by hash. They are
// immutable, and a session may end on one long after it was replaced, so they
// outlive reloads and are never unloaded.
var loaded sync.Map // string → *flow.Definition

// remember puts a definition into the pool and logs its warnings once in the
// life of the process.
func remember(name string, def *flow.Definition) *flow.Definition {
	kept, known := loaded.LoadOrStore(def.Hash(), def)
	if !known {
		logger := caddy.Log().Named(appID)
		for _, warning := range def.Warnings() {
			logger.Warn("flow definition: "+warning, zap.String("flow", name), zap.String("definition", def.Hash()[:12]))
		}
	}
	return kept.(*flow.Definition)
}

// source finds the current definition of a flow. known says that the answer is
// final: the source has been read completely.
type source interface {
	current(account, name string) (def *flow.Definition, known bool)
	// lookup is current that may ask Redis when nothing has been read yet.
	lookup(ctx context.Context, account, name string) (*flow.Definition, error)
	// byHash finds the definition a session began with.
	byHash(ctx context.Context, hash string) (*flow.Definition, error)
}

// errUnknownFlow says that there is no such flow, for certain.
var errUnknownFlow = errors.New("unknown flow")

// directory is a source read once from files.
type directory map[string]*flow.Definition

func loadDirectory(path string) (directory, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("flows: %w", err)
	}
	if !info.IsDir() {
		return nil, fmt.Errorf("flows: %s is a file, expected a directory with NAME/flow.json or NAME.json", path)
	}
	definitions, err := flow.LoadDir(os.DirFS(path))
	if err != nil {
		return nil, fmt.Errorf("flows %s: %w", path, err)
	}
	if len(definitions) == 0 {
		return nil, fmt.Errorf("flows: %s holds no flow, expected NAME/flow.json or NAME.json", path)
	}
	for name, def := range definitions {
		if !isFlowName(name) {
			return nil, fmt.Errorf("flows %s: the name %q: expected %s", path, name, flowNameRule)
		}
		definitions[name] = remember(name, def)
	}
	return definitions, nil
}

func (d directory) current(_, name string) (*flow.Definition, bool) { return d[name], true }

func (d directory) lookup(_ context.Context, _, name string) (*flow.Definition, error) {
	if def := d[name]; def != nil {
		return def, nil
	}
	return nil, errUnknownFlow
}

func (d directory) byHash(_ context.Context, hash string) (*flow.Definition, error) {
	if def, ok := loaded.Load(hash); ok {
		return def.(*flow.Definition), nil
	}
	return nil, errUnknownFlow
}

// catalog is what this process knows of the index of one Redis. It belongs to
// the process, not to a configuration: after a reload with a new password the
// flows of the same Redis are still known.
type catalog struct {
	// current is what requests read, without a lock. It is replaced as a whole.
	current atomic.Pointer[index]

	mu      sync.Mutex      // of changing current, and of
	refused map[string]bool // hashes whose document was reported as unreadable
}

// index is one state of the index. It is immutable.
type index struct {
	flows    map[string]indexed // by IndexField
	complete bool               // the index was read completely since the process started
}

// indexed is what the index says of one flow.
type indexed struct {
	hash     string           // or Tombstone; empty when no usable definition was read yet
	def      *flow.Definition // nil of a tombstone
	unusable bool             // its newest definition cannot be used
}

// change puts what was read over what was known. Nothing is copied when nothing
// has changed, which is nearly always.
func (c *catalog) change(read map[string]indexed, complete bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	old := c.current.Load()
	if len(read) == 0 && (old.complete || !complete) {
		return
	}
	flows := maps.Clone(old.flows)
	maps.Copy(flows, read)
	c.current.Store(&index{flows, old.complete || complete})
}

var (
	catalogsMu sync.Mutex
	catalogs   = make(map[string]*catalog)
)

// catalogOf returns the catalog of the Redis at that place under that prefix.
func catalogOf(where, prefix string) *catalog {
	catalogsMu.Lock()
	defer catalogsMu.Unlock()
	key := where + "\x00" + prefix
	c := catalogs[key]
	if c == nil {
		c = &catalog{refused: make(map[string]bool)}
		c.current.Store(&index{flows: make(map[string]indexed)})
		catalogs[key] = c
	}
	return c
}

// refresh reads the index and the documents it does not have yet. A field that
// has gone, an index that is empty or cannot be read, and a document that is
// missing or broken leave what is loaded in place: only a tombstone unloads.
func (c *catalog) refresh(ctx context.Context, client redis.UniversalClient, keys keyspace.Keys) error {
	read, err := client.HGetAll(ctx, keys.Index()).Result()
	if err != nil {
		return fmt.Errorf("reading the index of flow definitions: %w", err)
	}
	var failed error
	changed := make(map[string]indexed)
	known := c.current.Load().flows
	for field, hash := range read {
		if known[field].hash == hash {
			continue
		}
		entry := indexed{hash: hash}
		if hash != keyspace.Tombstone {
			if entry.def, err = fetchDefinition(ctx, client, keys, field, hash); err != nil {
				entry = known[field]
				entry.unusable = true
				if err := c.refuse(field, hash, err); err != nil {
					failed = errors.Join(failed, err)
					continue
				}
			}
		}
		changed[field] = entry
	}
	c.change(changed, failed == nil)
	return failed
}

// refuse says once that a document cannot be used. A network error is returned
// instead: the index has then not been read completely.
func (c *catalog) refuse(field, hash string, err error) error {
	var unusable *unusableDefinition
	if !errors.As(err, &unusable) {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.refused[hash] {
		c.refused[hash] = true
		caddy.Log().Named(appID).Error("a published flow definition cannot be used; the one before it stays in use",
			zap.String("flow", field), zap.Error(err))
	}
	return nil
}

// unusableDefinition is a document that is missing or that cannot be parsed.
type unusableDefinition struct{ err error }

func (u *unusableDefinition) Error() string { return u.err.Error() }
func (u *unusableDefinition) Unwrap() error { return u.err }

func fetchDefinition(ctx context.Context, client redis.UniversalClient, keys keyspace.Keys, name, hash string) (*flow.Definition, error) {
	if def, ok := loaded.Load(hash); ok {
		return def.(*flow.Definition), nil
	}
	document, err := client.Get(ctx, keys.Definition(hash)).Bytes()
	if errors.Is(err, redis.Nil) {
		return nil, &unusableDefinition{fmt.Errorf("definition %s is in the index but not in Redis: publish it again", clip(hash))}
	}
	if err != nil {
		return nil, err
	}
	def, err := flow.ParseDocument(document)
	if err != nil {
		return nil, &unusableDefinition{fmt.Errorf("definition %s: %w", clip(hash), err)}
	}
	if def.Hash() != hash {
		return nil, &unusableDefinition{fmt.Errorf("definition %s: its content has the hash %s", clip(hash), clip(def.Hash()))}
	}
	return remember(name, def), nil
}

// published is the source of the definitions the worker publishes to Redis.
type published struct{ *backend }

func (p published) current(account, name string) (*flow.Definition, bool) {
	index := p.catalog.current.Load()
	entry := index.flows[keyspace.IndexField(account, name)]
	switch {
	case entry.def != nil:
		return entry.def, true
	case entry.hash == "":
		return nil, index.complete && !entry.unusable
	}
	return nil, !entry.unusable // a tombstone, unless what came after it cannot be used
}

func (p published) lookup(ctx context.Context, account, name string) (*flow.Definition, error) {
	def, known := p.current(account, name)
	switch {
	case def != nil:
		return def, nil
	case known:
		return nil, errUnknownFlow
	}
	// Nothing usable was read since the process started: ask for this one flow.
	field := keyspace.IndexField(account, name)
	hash, err := p.client.HGet(ctx, p.keys.Index(), field).Result()
	if errors.Is(err, redis.Nil) || (err == nil && hash == keyspace.Tombstone) {
		return nil, errUnknownFlow
	}
	if err != nil {
		return nil, err
	}
	return fetchDefinition(ctx, p.client, p.keys, field, hash)
}

func (p published) byHash(ctx context.Context, hash string) (*flow.Definition, error) {
	return fetchDefinition(ctx, p.client, p.keys, "", hash)
}

// Interface guards
var (
	_ source = directory(nil)
	_ source = published{}
)
