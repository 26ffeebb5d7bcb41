//go:build cgo && libcrypto

package libcrypto_test

import (
	"bytes"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/sha256"
	"errors"
	"hash"
	"math/big"
	"strings"
	"testing"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/flowcrypto/libcrypto"
)

var oaep = &rsa.OAEPOptions{Hash: crypto.SHA256, MGFHash: crypto.SHA256}

func newKey(t testing.TB) (*libcrypto.Key, *rsa.PrivateKey) {
	t.Helper()
	generated, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	key, err := libcrypto.New(generated)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(key.Close)
	return key, generated
}

func encrypt(t testing.TB, public *rsa.PublicKey, message []byte) []byte {
	t.Helper()
	return encryptWith(t, public, sha256.New(), message, nil)
}

func encryptWith(t testing.TB, public *rsa.PublicKey, hash hash.Hash, message, label []byte) []byte {
	t.Helper()
	ciphertext, err := rsa.EncryptOAEP(hash, rand.Reader, public, message, label)
	if err != nil {
		t.Fatal(err)
	}
	return ciphertext
}

func TestMessagesOfEveryLength(t *testing.T) {
	key, generated := newKey(t)
	for n := range 256 - 2*32 - 2 + 1 {
		message := make([]byte, n)
		_, _ = rand.Read(message)
		got, err := key.Decrypt(nil, encrypt(t, &generated.PublicKey, message), oaep)
		if err != nil || !bytes.Equal(got, message) {
			t.Fatalf("%d bytes: got %x, %v", n, got, err)
		}
		if spare := got[:cap(got)]; len(spare) != n {
			t.Fatalf("%d bytes: a slice of capacity %d", n, cap(got))
		}
	}
}

func TestKeysOfOtherSizes(t *testing.T) {
	for _, bits := range []int{1024, 2047, 3072} {
		generated, err := rsa.GenerateKey(rand.Reader, bits)
		if err != nil {
			t.Fatal(err)
		}
		key, err := libcrypto.New(generated)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := key.Decrypt(nil, encrypt(t, &generated.PublicKey, []byte("message")), oaep); err != nil || string(got) != "message" {
			t.Errorf("%d bits: got %q, %v", bits, got, err)
		}
		key.Close()
	}
}

func TestCiphertextsOfAnotherLengthOrRange(t *testing.T) {
	key, generated := newKey(t)
	good := encrypt(t, &generated.PublicKey, []byte("message"))
	for name, ciphertext := range map[string][]byte{
		"none":                   nil,
		"one byte short":         good[1:],
		"one byte more":          append([]byte{0}, good...),
		"zero":                   make([]byte, 256),
		"one":                    append(make([]byte, 255), 1),
		"the modulus":            generated.N.Bytes(),
		"more than the modulus":  bytes.Repeat([]byte{0xff}, 256),
		"the modulus less one":   new(big.Int).Sub(generated.N, big.NewInt(1)).Bytes(),
		"altered in its middle":  flipped(good, 128),
		"altered in its last":    flipped(good, 255),
		"of another public key":  encrypt(t, &otherKey(t).PublicKey, []byte("message")),
		"of another label":       encryptWith(t, &generated.PublicKey, sha256.New(), []byte("message"), []byte("label")),
		"of SHA-1":               encryptWith(t, &generated.PublicKey, sha1.New(), []byte("message"), nil),
		"of PKCS #1 version 1.5": withPKCS1v15(t, &generated.PublicKey),
	} {
		// The very value: any other would tell which check failed.
		if got, err := key.Decrypt(nil, ciphertext, oaep); got != nil || err != libcrypto.ErrDecryption {
			t.Errorf("%s: got %x, %v; expected ErrDecryption alone", name, got, err)
		}
	}
	if got, err := key.Decrypt(nil, good, oaep); err != nil || string(got) != "message" {
		t.Errorf("the sound one after them: got %q, %v", got, err)
	}
}

func flipped(ciphertext []byte, at int) []byte {
	altered := bytes.Clone(ciphertext)
	altered[at] ^= 1
	return altered
}

func otherKey(t *testing.T) *rsa.PrivateKey {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func withPKCS1v15(t *testing.T, public *rsa.PublicKey) []byte {
	//lint:ignore SA1019 what is refused here
	ciphertext, err := rsa.EncryptPKCS1v15(rand.Reader, public, []byte("message"))
	if err != nil {
		t.Fatal(err)
	}
	return ciphertext
}

func TestOnlyOAEPWithSHA256AndNoLabelIsDone(t *testing.T) {
	key, generated := newKey(t)
	ciphertext := encrypt(t, &generated.PublicKey, []byte("message"))
	if got, err := key.Decrypt(nil, ciphertext, &rsa.OAEPOptions{Hash: crypto.SHA256}); err != nil || string(got) != "message" {
		t.Errorf("one hash for both, as crypto/rsa has it: got %q, %v", got, err)
	}
	for name, options := range map[string]crypto.DecrypterOpts{
		"none": nil,
		//lint:ignore SA1019 what is refused here
		"PKCS #1 v1.5":       &rsa.PKCS1v15DecryptOptions{},
		"SHA-1":              &rsa.OAEPOptions{Hash: crypto.SHA1},
		"SHA-1 for MGF1":     &rsa.OAEPOptions{Hash: crypto.SHA256, MGFHash: crypto.SHA1},
		"SHA-512":            &rsa.OAEPOptions{Hash: crypto.SHA512, MGFHash: crypto.SHA512},
		"a label":            &rsa.OAEPOptions{Hash: crypto.SHA256, Label: []byte("x")},
		"no hash at all":     &rsa.OAEPOptions{},
		"MGF1's hash only":   &rsa.OAEPOptions{MGFHash: crypto.SHA256},
		"no pointer to them": rsa.OAEPOptions{Hash: crypto.SHA256},
	} {
		got, err := key.Decrypt(nil, ciphertext, options)
		if got != nil || err == nil || errors.Is(err, libcrypto.ErrDecryption) || !strings.Contains(err.Error(), "expected *rsa.OAEPOptions with SHA-256") {
			t.Errorf("%s: got %q, %v; expected an error that says what is done", name, got, err)
		}
	}
}

func TestKeysThatAreNotTaken(t *testing.T) {
	three, err := rsa.GenerateMultiPrimeKey(rand.Reader, 3, 2048) //lint:ignore SA1019 what is refused here
	if err != nil {
		t.Fatal(err)
	}
	damaged := *otherKey(t)
	damaged.D = new(big.Int).Add(damaged.D, big.NewInt(2))
	damaged.Precomputed = rsa.PrecomputedValues{}
	for name, c := range map[string]struct {
		key  *rsa.PrivateKey
		want string
	}{
		"three primes":     {three, "3 primes, expected 2"},
		"a wrong exponent": {&damaged, "not sound"},
	} {
		if key, err := libcrypto.New(c.key); key != nil || err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, %v; expected an error with %q", name, key, err, c.want)
		}
	}
}

func TestVersionIsOfTheLibraryThatRuns(t *testing.T) {
	if !strings.HasPrefix(libcrypto.Version(), "OpenSSL ") {
		t.Errorf("version %q", libcrypto.Version())
	}
}
