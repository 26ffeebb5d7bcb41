package state

import "context"

// Release gives a claim back when a request ends without a sealed answer, so
// that the user's next try need not wait for the claim to end by itself.
func (s *Store) Release(ctx context.Context, l Lookup, claimID string) error {
	c := releaseScript.call(ctx, 1, []any{nil, nil, nil, l.Claim, claimID})
	s.do(c, l.Claim)
	return c.err
}
