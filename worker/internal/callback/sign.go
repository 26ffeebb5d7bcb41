package callback

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// SecretPrefix begins every secret, as the Standard Webhooks specification
// writes it; the standard base64 of the key follows.
const SecretPrefix = "whsec_"

// Key lengths in bytes, from the same specification.
const (
	shortestKey = 24
	longestKey  = 64
	newKey      = 32
)

// NewSecret makes a secret of 32 random bytes.
func NewSecret() string {
	key := make([]byte, newKey)
	rand.Read(key) //nolint:errcheck // never fails since Go 1.24
	return SecretPrefix + base64.StdEncoding.EncodeToString(key)
}

// CheckSecret says what is wrong with a secret, without repeating it.
func CheckSecret(secret string) error {
	_, err := secretKey(secret)
	return err
}

func secretKey(secret string) ([]byte, error) {
	encoded, ok := strings.CutPrefix(secret, SecretPrefix)
	if !ok {
		return nil, errors.New("a callback secret begins with whsec_ and this one does not: make one with `worker callbacks secret --new`")
	}
	key, err := base64.StdEncoding.DecodeString(encoded)
	if err != nil {
		return nil, errors.New("what follows whsec_ in a callback secret is not standard base64: make one with `worker callbacks secret --new`")
	}
	if len(key) < shortestKey || len(key) > longestKey {
		return nil, fmt.Errorf("a callback secret holds %d to %d bytes and this one holds %d: make one with `worker callbacks secret --new`", shortestKey, longestKey, len(key))
	}
	return key, nil
}

// Signature is the value of webhook-signature: one "v1,<base64>" for each
// secret, separated by spaces, so that a receiver may change its secret
// whenever it likes. The text signed is "<id>.<seconds>.<body>".
func Signature(secrets []string, id string, at time.Time, body []byte) (string, error) {
	if len(secrets) == 0 {
		return "", errors.New("the endpoint has no secret to sign with that is still valid: give it a new one")
	}
	var b strings.Builder
	for i, secret := range secrets {
		key, err := secretKey(secret)
		if err != nil {
			return "", err
		}
		mac := hmac.New(sha256.New, key)
		mac.Write([]byte(id + "." + strconv.FormatInt(at.Unix(), 10) + "."))
		mac.Write(body)
		if i > 0 {
			b.WriteByte(' ')
		}
		b.WriteString("v1," + base64.StdEncoding.EncodeToString(mac.Sum(nil)))
	}
	return b.String(), nil
}

// metaSignature is the value of X-Hub-Signature-256 as Meta makes it, with the
// text of the secret in the place of the app secret: a handler of Meta's
// webhooks takes those that are passed on when it is given the secret.
func metaSignature(secret string, body []byte) string {
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write(body)
	return "sha256=" + hex.EncodeToString(mac.Sum(nil))
}
