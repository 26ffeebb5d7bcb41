package caddymodule

import (
	"bytes"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/flowcrypto"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/flowcrypto/libcrypto"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/hubsignature"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/setting"
)

// credentials are what of an account changes while it serves: its secrets and
// keys. They are read and checked as a whole and replaced as a whole; a request
// uses those it began with to its end.
type credentials struct {
	signatures   *hubsignature.Verifier
	appSecrets   [][]byte
	tokenSecrets [][]byte
	verifyToken  secret
	keys         []accountKey
	lastKey      atomic.Int32 // index of the key that opened an envelope last
	directory    string       // of keys; "" when there is none
	loadedAt     time.Time
}

// readCredentials reads everything from where the configuration says it is. Keys
// that before has already are not opened again: opening one costs as much as
// hundreds of requests, which wait meanwhile.
func (a *Account) readCredentials(env setting.Source, before *credentials) (_ *credentials, err error) {
	c := &credentials{loadedAt: time.Now()}
	defer func() {
		if err != nil {
			c.closeKeys(before)
		}
	}()
	if c.appSecrets, err = resolveSecrets("app_secret", a.AppSecrets, env, "META_APP_SECRET"); err != nil {
		return nil, err
	}
	if len(c.appSecrets) == 0 {
		return nil, missing("app_secret", "META_APP_SECRET")
	}
	for i, secret := range c.appSecrets {
		// Meta's are hexadecimal digits. Taken as one, no request would fit it.
		if bytes.ContainsAny(secret, ",\r\n") {
			return nil, fmt.Errorf("app_secret %d holds a comma or a line end, expected one secret: give each as an argument of its own, the current one first; only the file of META_APP_SECRET_FILE holds several", i+1)
		}
	}
	if c.signatures, err = hubsignature.New(c.appSecrets...); err != nil {
		return nil, fmt.Errorf("app_secret: %w", err)
	}
	if c.tokenSecrets, err = resolveSecrets("token_secret", a.TokenSecrets, env, "FLOW_TOKEN_SECRET"); err != nil {
		return nil, err
	}
	if a.RequireSignedTokens && len(c.tokenSecrets) == 0 {
		return nil, fmt.Errorf("require_signed_tokens: %w", missing("token_secret", "FLOW_TOKEN_SECRET"))
	}
	verify, err := resolveSecret("verify_token", a.VerifyToken, env, "META_VERIFY_TOKEN")
	if err != nil {
		return nil, err
	}
	c.verifyToken = secret(verify)
	if err := a.readKeys(keyReader{a.name, c, before}, env); err != nil {
		return nil, err
	}
	return c, nil
}

// replaces says why c cannot take the place of the credentials that handlers rely
// on: each of them was made with the certainty that these are there.
func (a *Account) replaces(c *credentials) error {
	before := a.current.Load()
	if len(before.keys) > 0 && len(c.keys) == 0 {
		return fmt.Errorf("all private keys are gone: %w", a.missingKeys())
	}
	if before.verifyToken != "" && c.verifyToken == "" {
		return missing("verify_token", "META_VERIFY_TOKEN")
	}
	return nil
}

// differs says whether anything is another than in before.
func (c *credentials) differs(before *credentials) bool {
	same := slices.EqualFunc(c.appSecrets, before.appSecrets, bytes.Equal) &&
		slices.EqualFunc(c.tokenSecrets, before.tokenSecrets, bytes.Equal) &&
		c.verifyToken == before.verifyToken &&
		slices.EqualFunc(c.keys, before.keys, func(a, b accountKey) bool { return a.fingerprint == b.fingerprint })
	return !same
}

// open tries the keys on an envelope, the one that opened the last envelope
// first: during a rotation phones keep either key for days.
func (c *credentials) open(envelope *flowcrypto.Envelope) (plaintext []byte, sealer *flowcrypto.Sealer, opened *accountKey, err error) {
	last := int(c.lastKey.Load())
	err = flowcrypto.ErrCannotDecrypt
	for i := range c.keys {
		// last, then the others in the order of the configuration.
		index := i
		if i == 0 {
			index = last
		} else if i <= last {
			index = i - 1
		}
		key := &c.keys[index]
		if plaintext, sealer, err = envelope.Open(key.Decrypter); err == nil {
			if index != last {
				c.lastKey.Store(int32(index))
			}
			return plaintext, sealer, key, nil
		}
	}
	return nil, nil, nil, err
}

// release closes the keys that next, which takes the place of c, does not have,
// once no request can be using them any more, as with the Redis client (see
// closeGrace): a request that found its key closed would be answered 421, and the
// phone would fetch the public key for nothing. Both may be nil.
func (c *credentials) release(next *credentials) {
	if c == nil {
		return
	}
	if caddy.Exiting() {
		c.closeKeys(next)
		return
	}
	time.AfterFunc(closeGrace, func() { c.closeKeys(next) })
}

// closeKeys closes the keys of c that nobody uses: those that other does not have.
func (c *credentials) closeKeys(other *credentials) {
	for i := range c.keys {
		key, ok := c.keys[i].Decrypter.(*libcrypto.Key)
		if ok && other.made(c.keys[i].origin) == nil {
			key.Close()
		}
	}
}

// made is the key that was made of these very texts, or nil.
func (c *credentials) made(of origin) *accountKey {
	if c == nil {
		return nil
	}
	for i := range c.keys {
		if c.keys[i].origin == of {
			return &c.keys[i]
		}
	}
	return nil
}
