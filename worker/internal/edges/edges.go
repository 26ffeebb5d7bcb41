// Package edges reads which edges an installation has, from what they say of
// themselves in Redis.
package edges

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/presence"
)

// Edge is an edge that runs, or was killed less than a minute ago.
type Edge struct {
	ID                string // its source: new at each start, and in its log
	Version           string
	PrivateKeyBackend string
	Started           time.Time
	SeenAgo           time.Duration // by Redis's clock
}

// readScript returns Redis's time in milliseconds since 1970, then fields and
// values of the hash in turn. It is a script so that the time is that of the
// cluster's node that has the hash.
//
//	KEYS  edges
var readScript = redis.NewScript(`
local t = redis.call('TIME')
local answer = redis.call('HGETALL', KEYS[1])
table.insert(answer, 1, string.format('%d', t[1] * 1000 + math.floor(t[2] / 1000)))
return answer
`)

// Running reads the edges of the hash key, in the order of their starts. One
// whose value cannot be read, or that has not been seen for [presence.Gone], is
// left out. The error is that of the Redis client.
func Running(ctx context.Context, client redis.UniversalClient, key string) ([]Edge, error) {
	answer, err := readScript.Run(ctx, client, []string{key}).StringSlice()
	if err != nil {
		return nil, err
	}
	now, err := strconv.ParseInt(answer[0], 10, 64)
	if err != nil {
		return nil, fmt.Errorf("redis says that the time is %q, expected milliseconds since 1970", answer[0])
	}
	running := []Edge{}
	for field := range slices.Chunk(answer[1:], 2) {
		e, err := presence.Decode(field[1])
		if err != nil {
			continue // fails open: the other edges are worth knowing
		}
		// One ahead of the clock was written before the clock was set back.
		ago := now - e.Seen
		if max(ago, -ago) >= presence.Gone.Milliseconds() {
			continue
		}
		running = append(running, Edge{
			ID: field[0], Version: e.Version, PrivateKeyBackend: e.PrivateKeyBackend, Started: e.Started,
			SeenAgo: time.Duration(max(ago, 0)) * time.Millisecond,
		})
	}
	slices.SortFunc(running, func(a, b Edge) int {
		return cmp.Or(a.Started.Compare(b.Started), strings.Compare(a.ID, b.ID))
	})
	return running, nil
}
