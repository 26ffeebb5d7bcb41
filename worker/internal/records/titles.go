package records

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/flowjson"
)

const (
	// maxCached bounds the definitions whose options are kept: the titles alone,
	// a few kilobytes each.
	maxCached = 256

	// versionsKept is how long a flow's list of versions is believed: a new one
	// concerns answers that are not there yet.
	versionsKept = 5 * time.Second
)

// titleCache knows the options of the definitions that answers came from.
type titleCache struct {
	pool *pgxpool.Pool

	mu       sync.Mutex
	options  map[string]options // by account and definition; immutable
	versions map[flowKey]flowVersions
}

// flowKey is a flow by id, or by name when the answer has none.
type flowKey struct {
	account string
	id      uuid.UUID
	name    string
}

type flowVersions struct {
	list []flowVersion // ascending
	read time.Time
}

type flowVersion struct {
	number     int
	definition string
	created    time.Time
}

func newTitleCache(pool *pgxpool.Pool) *titleCache {
	return &titleCache{pool: pool, options: make(map[string]options), versions: make(map[flowKey]flowVersions)}
}

// addTo gives a response the version that its user saw, and its titles.
func (c *titleCache) addTo(ctx context.Context, r *Response) error {
	r.Titles = Titles{}
	o, number, err := c.find(ctx, r)
	if err != nil {
		return err
	}
	r.FlowVersion = number
	if titles := o.titles(r.ResponseData); titles != nil {
		r.Titles = titles
	}
	return nil
}

// find is the options of the version that a response came from, and its number.
func (c *titleCache) find(ctx context.Context, r *Response) (options, *int, error) {
	key := flowKey{account: r.Account}
	switch {
	case r.FlowID != nil:
		key.id = *r.FlowID
	case r.Flow != nil:
		key.name = *r.Flow
	default:
		return nil, nil, nil
	}
	list, err := c.versionsOf(ctx, key)
	if err != nil {
		return nil, nil, err
	}
	v := pick(list, r)
	if v == nil {
		return nil, nil, nil
	}
	o, err := c.optionsOf(ctx, r.Account, v.definition)
	return o, &v.number, err
}

// pick is the version of the session's definition; without a session the one
// that was the newest at the time of the answer, or the first if the flow was
// stored only later.
func pick(list []flowVersion, r *Response) *flowVersion {
	var best *flowVersion
	for i := range list {
		v := &list[i]
		if r.definition != nil {
			if v.definition == *r.definition {
				best = v
			}
		} else if best == nil || !v.created.After(r.AnsweredAt.Time) {
			best = v
		}
	}
	return best
}

const versionsOfFlow = `
	SELECT v.version, v.definition, v.created_at FROM flow_versions v
	WHERE v.account = $1 AND v.definition IS NOT NULL AND v.flow_id = coalesce(nullif($2::uuid, '00000000-0000-0000-0000-000000000000'),
		(SELECT f.id FROM flows f WHERE f.account = $1 AND f.name = $3 AND f.deleted_at IS NULL))
	ORDER BY v.version`

func (c *titleCache) versionsOf(ctx context.Context, key flowKey) ([]flowVersion, error) {
	c.mu.Lock()
	known := c.versions[key]
	c.mu.Unlock()
	if time.Since(known.read) < versionsKept {
		return known.list, nil
	}
	rows, err := c.pool.Query(ctx, versionsOfFlow, key.account, key.id, key.name)
	if err != nil {
		return nil, fmt.Errorf("reading the versions of a flow: %w", err)
	}
	list, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (v flowVersion, err error) {
		err = row.Scan(&v.number, &v.definition, &v.created)
		return v, err
	})
	if err != nil {
		return nil, fmt.Errorf("reading the versions of a flow: %w", err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.versions) >= maxCached {
		clear(c.versions)
	}
	c.versions[key] = flowVersions{list, time.Now()}
	return list, nil
}

func (c *titleCache) optionsOf(ctx context.Context, account, definition string) (options, error) {
	key := account + "/" + definition
	c.mu.Lock()
	known, ok := c.options[key]
	c.mu.Unlock()
	if ok {
		return known, nil
	}
	var flowJSON []byte
	err := c.pool.QueryRow(ctx, "SELECT flow_json FROM flow_versions WHERE account = $1 AND definition = $2 LIMIT 1", account, definition).Scan(&flowJSON)
	if err != nil {
		return nil, fmt.Errorf("reading a definition: %w", err)
	}
	var o options
	// What cannot be read has no titles; its answers are shown all the same.
	if document, err := flowjson.Parse(flowJSON); err == nil {
		o = optionsOf(document)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.options) >= maxCached {
		clear(c.options)
	}
	c.options[key] = o
	return o, nil
}
