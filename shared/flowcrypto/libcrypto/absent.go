//go:build !cgo || !libcrypto

package libcrypto

import (
	"crypto"
	"crypto/rsa"
	"errors"
	"io"
)

// Built says whether this binary has OpenSSL's private operation.
const Built = false

var errNotBuilt = errors.New("libcrypto: this binary was built without it: build it with CGO_ENABLED=1 and -tags libcrypto, with a C compiler and the headers of OpenSSL 3.0 or newer (Debian, Ubuntu: gcc libc6-dev libssl-dev; Alpine: gcc musl-dev openssl-dev)")

// Key does not exist in this build.
type Key struct{}

// New returns an error that says how to build with libcrypto.
func New(*rsa.PrivateKey) (*Key, error) { return nil, errNotBuilt }

// Public returns nil.
func (*Key) Public() crypto.PublicKey { return nil }

// Decrypt returns the error of New.
func (*Key) Decrypt(io.Reader, []byte, crypto.DecrypterOpts) ([]byte, error) {
	return nil, errNotBuilt
}

// Close does nothing.
func (*Key) Close() {}

// Version is empty.
func Version() string { return "" }
