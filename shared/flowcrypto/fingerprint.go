package flowcrypto

import (
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"fmt"
)

// Fingerprint is the SHA-256 of the public key's SPKI DER in lower-case hex:
// what `openssl pkey -pubin -outform DER | sha256sum` prints for the public key
// that Meta returns from GET /{PHONE_NUMBER_ID}/whatsapp_business_encryption.
func Fingerprint(public *rsa.PublicKey) string {
	sum := sha256.Sum256(spki(public))
	return hex.EncodeToString(sum[:])
}

func spki(public *rsa.PublicKey) []byte {
	der, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		// An *rsa.PublicKey always has an encoding.
		panic(fmt.Sprintf("flowcrypto: encoding a public key: %v", err))
	}
	return der
}
