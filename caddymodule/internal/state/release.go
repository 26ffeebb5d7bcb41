package state

import (
	"context"

	"github.com/redis/go-redis/v9"
)

// releaseScript gives a claim back.
//
//	KEYS  claim
//	ARGV  claim id
var releaseScript = redis.NewScript(`
if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end
return 0
`)

// Release gives a claim back when a request ends without a sealed answer, so
// that the user's next try need not wait for the claim to end by itself.
func (s *Store) Release(ctx context.Context, l Lookup, claimID string) error {
	return releaseScript.Run(ctx, s.client, []string{l.Claim}, claimID).Err()
}
