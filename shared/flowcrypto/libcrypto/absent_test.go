//go:build !cgo || !libcrypto

package libcrypto_test

import (
	"crypto/rand"
	"crypto/rsa"
	"strings"
	"testing"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/flowcrypto/libcrypto"
)

func TestABuildWithoutItSaysHowToBuildWithIt(t *testing.T) {
	generated, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	key, err := libcrypto.New(generated)
	if key != nil || err == nil || !strings.Contains(err.Error(), "CGO_ENABLED=1 and -tags libcrypto") {
		t.Errorf("got %v, %v; expected an error that says how to build", key, err)
	}
	if libcrypto.Built || libcrypto.Version() != "" {
		t.Errorf("built %v, version %q", libcrypto.Built, libcrypto.Version())
	}
}
