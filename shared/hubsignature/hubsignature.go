// Package hubsignature verifies and makes X-Hub-Signature-256, the header by
// which Meta signs endpoint requests and webhooks alike:
//
//	sha256=<64 hex digits of HMAC-SHA256(app secret, raw body)>
//
// The HMAC is over the bytes as they arrived. Meta escapes non-ASCII characters
// and slashes in the body; parsing and writing the JSON again, or unescaping
// it, gives another HMAC.
//
// Source: Meta, "Webhooks: Getting Started", section "Validating Payloads",
// https://developers.facebook.com/docs/graph-api/webhooks/getting-started
package hubsignature

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"hash"
	"strings"
	"sync"
)

const scheme = "sha256="

// Verifier checks signatures against one or more app secrets, so that a secret
// can be changed without refusing what Meta still signs with the old one. It is
// safe for concurrent use.
type Verifier struct {
	pools []*sync.Pool // of *state, one per secret
}

// state is a keyed HMAC with room for its result, so that a verification
// neither hashes the key again nor allocates.
type state struct {
	hash hash.Hash
	sum  [sha256.Size]byte
}

// New returns a Verifier for secrets, which are the app secrets as Meta shows
// them: the characters themselves, not hex-decoded. Their order is the order in
// which they are tried. No secret at all and an empty secret are errors,
// because either would mean a check that everyone or nobody passes.
func New(secrets ...[]byte) (*Verifier, error) {
	if len(secrets) == 0 {
		return nil, errors.New("no app secret is given, expected at least one")
	}
	v := new(Verifier)
	for _, secret := range secrets {
		if len(secret) == 0 {
			return nil, errors.New("an app secret is empty, expected the app secret of the Meta app")
		}
		secret := append([]byte(nil), secret...)
		v.pools = append(v.pools, &sync.Pool{New: func() any {
			return &state{hash: hmac.New(sha256.New, secret)}
		}})
	}
	return v, nil
}

// Verify says whether header is the signature of body under one of the secrets,
// and returns the HMAC that was verified. A missing or malformed header is
// refused before anything is hashed. The comparison takes constant time.
func (v *Verifier) Verify(header string, body []byte) (mac [sha256.Size]byte, ok bool) {
	var digits [2 * sha256.Size]byte
	var claimed [sha256.Size]byte
	if len(header) != len(scheme)+len(digits) || !strings.HasPrefix(header, scheme) {
		return mac, false
	}
	copy(digits[:], header[len(scheme):])
	if _, err := hex.Decode(claimed[:], digits[:]); err != nil {
		return mac, false
	}
	for _, pool := range v.pools {
		if computed := sum(pool, body); hmac.Equal(computed[:], claimed[:]) {
			return computed, true
		}
	}
	return mac, false
}

func sum(pool *sync.Pool, body []byte) [sha256.Size]byte {
	s := pool.Get().(*state)
	s.hash.Reset()
	s.hash.Write(body)
	s.hash.Sum(s.sum[:0])
	result := s.sum
	pool.Put(s)
	return result
}

// Sign returns the header that Meta sends with body.
func Sign(secret, body []byte) string {
	mac := hmac.New(sha256.New, secret)
	mac.Write(body)
	return scheme + hex.EncodeToString(mac.Sum(nil))
}
