//go:build cgo && libcrypto

package libcrypto_test

import (
	"bytes"
	"crypto/rsa"
	"math/big"
	"os"
	"testing"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/flowcrypto"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/flowcrypto/libcrypto"
)

// FuzzDecrypt has crypto/rsa as the referee: both give the same message, or
// none. The input is also tried as the padded block under the encryption, which
// random ciphertexts never reach in a shape that is nearly right.
func FuzzDecrypt(f *testing.F) {
	// One key for all processes of a fuzz run, or they could not share inputs.
	text, err := os.ReadFile("../testdata/keys/rsa_pkcs8_plain.pem")
	if err != nil {
		f.Fatal(err)
	}
	reference, err := flowcrypto.ReadPrivateKey(text, nil)
	if err != nil {
		f.Fatal(err)
	}
	key, err := libcrypto.New(reference)
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(key.Close)
	f.Add(encrypt(f, &reference.PublicKey, bytes.Repeat([]byte{7}, 16)))
	f.Add(make([]byte, 256))
	for _, block := range [][]byte{{0}, bytes.Repeat([]byte{0xff}, 256)} {
		f.Add(block)
	}
	f.Fuzz(func(t *testing.T, input []byte) {
		agree(t, key, reference, input)
		block := new(big.Int).SetBytes(input)
		block.Mod(block, reference.N)
		agree(t, key, reference, new(big.Int).Exp(block, big.NewInt(int64(reference.E)), reference.N).FillBytes(make([]byte, 256)))
		if len(input) <= 190 {
			agree(t, key, reference, encrypt(t, &reference.PublicKey, input))
		}
	})
}

func agree(t *testing.T, key *libcrypto.Key, reference *rsa.PrivateKey, ciphertext []byte) {
	t.Helper()
	got, err := key.Decrypt(nil, ciphertext, oaep)
	if err != nil && (got != nil || err != libcrypto.ErrDecryption) {
		t.Fatalf("got %x, %v; expected ErrDecryption alone", got, err)
	}
	if len(ciphertext) != reference.Size() {
		if err == nil {
			t.Fatalf("a ciphertext of %d bytes gave a message", len(ciphertext))
		}
		return // crypto/rsa takes some for numbers with leading zeros
	}
	want, wantErr := reference.Decrypt(nil, ciphertext, oaep)
	if (err == nil) != (wantErr == nil) || !bytes.Equal(got, want) {
		t.Fatalf("got %x, %v; crypto/rsa gives %x, %v", got, err, want, wantErr)
	}
}
