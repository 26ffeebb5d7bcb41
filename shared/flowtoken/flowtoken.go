// Package flowtoken mints and verifies signed flow tokens, and verifies the
// flow_token_signature that Meta adds to a request.
//
// A flow token is what a business puts into the flow message it sends; the
// phone repeats it in every request. A signed one says for whom and for how
// long it is valid, and cannot be made up by a user:
//
//	wf1.<payload>.<mac>
//
// payload is unpadded base64url of a JSON object, mac unpadded base64url of
// HMAC-SHA256 over the text "wf1.<payload>". Secrets come as a list, the
// current one first, so that tokens already sent survive a change of secret.
package flowtoken

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"
)

const (
	prefix = "wf1."

	// maxSize bounds a token in bytes. WhatsApp carries the token in every
	// message and request, and we carry it in keys' preimages and events.
	maxSize = 2048

	nonceSize = 12 // bytes; two tokens collide after about 2^48
)

// ErrForged says that a token or a flow_token_signature was not made with any
// of the secrets, or is no such thing at all.
var ErrForged = errors.New("it was not signed with any of the configured secrets")

// ErrExpired says that a token was genuine and its time is over.
var ErrExpired = errors.New("the flow token has expired")

// Claims are what a signed token says.
type Claims struct {
	Flow    string    // the flow it is for; may be empty
	Account string    // the account it is for, where several share a secret; may be empty
	Version string    // hash of the definition it is for; may be empty
	User    string    // the business's own name for the user; may be empty
	Name    string    // what to call the user on a screen; may be empty
	Expires time.Time // required; kept to the second, rounded down
}

// payload is the wire form of Claims, with short keys because a token travels
// in every request.
type payload struct {
	Flow    string `json:"f,omitempty"`
	Account string `json:"a,omitempty"`
	Version string `json:"v,omitempty"`
	User    string `json:"u,omitempty"`
	Name    string `json:"d,omitempty"`
	Expires int64  `json:"e"` // seconds since the Unix epoch
	Nonce   []byte `json:"n"` // makes each token, and so each session, its own
}

var encoding = base64.RawURLEncoding.Strict()

// IsSigned says whether token claims to be a signed one. It says nothing about
// whether the claim is true.
func IsSigned(token string) bool { return strings.HasPrefix(token, prefix) }

// Mint makes a token under secret, the current one of the list, with a nonce
// from random (crypto/rand.Reader).
func Mint(secret []byte, c Claims, random io.Reader) (string, error) {
	if len(secret) == 0 {
		return "", errors.New("minting a flow token: the secret is empty")
	}
	if c.Expires.Unix() <= 0 {
		return "", errors.New("minting a flow token: no expiry is given, expected a time to come (Meta advises 2 to 3 days)")
	}
	p := payload{Flow: c.Flow, Account: c.Account, Version: c.Version, User: c.User, Name: c.Name, Expires: c.Expires.Unix(), Nonce: make([]byte, nonceSize)}
	if _, err := io.ReadFull(random, p.Nonce); err != nil {
		return "", fmt.Errorf("minting a flow token: reading random bytes: %w", err)
	}
	raw, err := json.Marshal(p)
	if err != nil {
		return "", fmt.Errorf("minting a flow token: %w", err)
	}
	signed := prefix + encoding.EncodeToString(raw)
	token := signed + "." + mac(secret, signed)
	if len(token) > maxSize {
		return "", fmt.Errorf("minting a flow token: it would be %d bytes, at most %d are allowed: shorten the user, the name or the flow", len(token), maxSize)
	}
	return token, nil
}

// Verify checks token against each of secrets and returns what it says. The
// error wraps ErrForged or ErrExpired and never holds the token; with
// ErrExpired the claims are returned too, because they are genuine.
func Verify(secrets [][]byte, token string, now time.Time) (Claims, error) {
	if len(token) > maxSize {
		return Claims{}, fmt.Errorf("flow token of %d bytes, at most %d are allowed: %w", len(token), maxSize, ErrForged)
	}
	body, found := strings.CutPrefix(token, prefix)
	if !found {
		return Claims{}, fmt.Errorf("flow token does not begin with %s: %w", prefix, ErrForged)
	}
	encoded, claimed, found := strings.Cut(body, ".")
	if !found {
		return Claims{}, fmt.Errorf("flow token has no signature: %w", ErrForged)
	}
	if !signedByAny(secrets, prefix+encoded, claimed) {
		return Claims{}, fmt.Errorf("flow token: %w", ErrForged)
	}

	// From here on one of our own secrets vouches for the bytes.
	raw, err := encoding.DecodeString(encoded)
	if err != nil {
		return Claims{}, fmt.Errorf("flow token holds no base64url: %w", ErrForged)
	}
	var p payload
	if err := json.Unmarshal(raw, &p); err != nil || p.Expires <= 0 || len(p.Nonce) < nonceSize {
		return Claims{}, fmt.Errorf("flow token lacks an expiry or a nonce: %w", ErrForged)
	}
	c := Claims{Flow: p.Flow, Account: p.Account, Version: p.Version, User: p.User, Name: p.Name, Expires: time.Unix(p.Expires, 0).UTC()}
	if !now.Before(c.Expires) {
		return c, fmt.Errorf("%w: it was valid until %s", ErrExpired, c.Expires.Format(time.RFC3339))
	}
	return c, nil
}

// signedByAny compares encoded MACs, not decoded ones, so that a token has
// exactly one accepted spelling.
func signedByAny(secrets [][]byte, signed, claimed string) bool {
	for _, secret := range secrets {
		// An unset secret must not turn into one that everybody knows.
		if len(secret) > 0 && subtle.ConstantTimeCompare([]byte(mac(secret, signed)), []byte(claimed)) == 1 {
			return true
		}
	}
	return false
}

func mac(secret []byte, signed string) string {
	h := hmac.New(sha256.New, secret)
	h.Write([]byte(signed))
	return encoding.EncodeToString(h.Sum(nil))
}
