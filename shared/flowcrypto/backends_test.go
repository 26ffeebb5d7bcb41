package flowcrypto_test

import (
	"crypto"
	"testing"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/flowcrypto/libcrypto"
)

// backend is the business's key in one of the libraries that this build has.
type backend struct {
	name string
	key  crypto.Decrypter
}

// backends are crypto/rsa, and libcrypto where it is built: whatever is tested
// of one is tested of each.
func backends(t testing.TB) []backend {
	t.Helper()
	both := []backend{{"crypto/rsa", businessKey(t)}}
	if libcrypto.Built {
		key, err := libcrypto.New(businessKey(t))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(key.Close)
		both = append(both, backend{"libcrypto", key})
	}
	return both
}

// withEachKey runs a test once with each backend.
func withEachKey(t *testing.T, test func(t *testing.T, key crypto.Decrypter)) {
	t.Helper()
	for _, b := range backends(t) {
		t.Run(b.name, func(t *testing.T) { test(t, b.key) })
	}
}
