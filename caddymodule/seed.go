package caddymodule

import (
	"crypto/hkdf"
	"crypto/sha256"
	"fmt"
	"time"
)

// seed is where the random choices of one step come from. It is made of the
// step's idempotency key, not drawn: who asks an upstream again with that key
// must send the same one-time code, or the upstream, which has seen the key,
// sends nothing and the user holds a code that the session does not know. Only
// who has the app secret can tell it. The start of the attempt keeps a session
// that begins anew under an old token from making what it made before.
func (a *Account) seed(idempotencyKey string, started time.Time) (seed [32]byte, err error) {
	derived, err := hkdf.Key(sha256.New, a.appSecrets[0], nil, "flow random "+idempotencyKey+started.UTC().Format(time.RFC3339Nano), len(seed))
	if err != nil {
		return seed, fmt.Errorf("random choices of a flow: %w", err)
	}
	return [32]byte(derived), nil
}
