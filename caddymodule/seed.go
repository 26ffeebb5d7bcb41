package caddymodule

import (
	"crypto/hkdf"
	"crypto/sha256"
	"fmt"
	"math/rand/v2"
	"time"
)

// seed is where the random choices of one step come from. It is made of the
// step's idempotency key, not drawn: who asks an upstream again with that key
// must send the same one-time code, or the upstream, which has seen the key,
// sends nothing and the user holds a code that the session does not know. Only
// who has the app secret can tell it. The start of the attempt keeps a session
// that begins anew under an old token from making what it made before.
type seed struct {
	secret         []byte
	idempotencyKey string
	started        time.Time
}

// bytes derives the seed. Most steps never ask for it.
func (s *seed) bytes() (seed [32]byte, err error) {
	derived, err := hkdf.Key(sha256.New, s.secret, nil, "flow random "+s.idempotencyKey+s.started.UTC().Format(time.RFC3339Nano), len(seed))
	if err != nil {
		return seed, fmt.Errorf("random choices of a flow: %w", err)
	}
	return [32]byte(derived), nil
}

// choices are the random bytes that come from a seed.
type choices struct {
	seed   func() ([32]byte, error)
	source *rand.ChaCha8 // nil until bytes are first wanted
}

// Read implements io.Reader.
func (c *choices) Read(p []byte) (int, error) {
	if c.source == nil {
		seed, err := c.seed()
		if err != nil {
			return 0, err
		}
		c.source = rand.NewChaCha8(seed)
	}
	return c.source.Read(p)
}
