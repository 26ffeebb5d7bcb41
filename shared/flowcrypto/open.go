package flowcrypto

import (
	"crypto"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"errors"
	"fmt"
	"sync"
)

const (
	keySize = 16 // AES-128, the only size WhatsApp sends
	ivSize  = 16
	tagSize = 16
)

// ErrCannotDecrypt says that the envelope was not made with the public half of
// this key, or was altered. It is answered with status 421, on which the phone
// fetches the business's public key again and retries once. It is one value
// for every cause, so that an answer tells nobody which check failed.
var ErrCannotDecrypt = errors.New("cannot decrypt the envelope with this private key: the phone sealed it for another public key, or it was altered on the way")

// Open decrypts the envelope. key is an *rsa.PrivateKey or anything else that
// decrypts RSA-OAEP, such as an HSM or a KMS.
//
// It returns ErrCannotDecrypt when key fails, when the AES key or the vector
// is not 16 bytes, or when the ciphertext is shorter than its tag or does not
// match it. Any other error means that this process cannot do AES-GCM with a
// vector of 16 bytes at all (GODEBUG=fips140=only).
//
// With several keys, call Open with each until one fits. A call whose key fits
// decrypts in place and uses the envelope up: from then on it opens with no key.
func (e *Envelope) Open(key crypto.Decrypter) (plaintext []byte, s *Sealer, err error) {
	// Lengths are public, so these may answer before the costly operation.
	if len(e.iv) != ivSize || len(e.data) < tagSize {
		return nil, nil, ErrCannotDecrypt
	}
	if public, ok := key.Public().(*rsa.PublicKey); ok && len(e.encryptedKey) != public.Size() {
		return nil, nil, ErrCannotDecrypt
	}

	aesKey, err := key.Decrypt(rand.Reader, e.encryptedKey, &rsa.OAEPOptions{Hash: crypto.SHA256, MGFHash: crypto.SHA256})
	defer func() { clear(aesKey) }()
	if err != nil || len(aesKey) != keySize {
		return nil, nil, ErrCannotDecrypt
	}
	block, err := aes.NewCipher(aesKey)
	if err != nil {
		return nil, nil, fmt.Errorf("aes-128 is not available: %w", err)
	}
	aead, err := cipher.NewGCMWithNonceSize(block, ivSize)
	if err != nil {
		return nil, nil, fmt.Errorf("aes-gcm with a vector of 16 bytes is not available: %w", err)
	}

	data := e.data
	e.data = nil
	plaintext, err = aead.Open(data[:0], e.iv, data, nil)
	if err != nil {
		return nil, nil, ErrCannotDecrypt
	}
	s = &Sealer{aead: aead}
	for i, b := range e.iv {
		s.iv[i] = b ^ 0xFF
	}
	return plaintext, s, nil
}

// Sealer encrypts the answer to one envelope.
type Sealer struct {
	aead cipher.AEAD
	iv   [ivSize]byte // already inverted
}

// Seal returns the response body: base64 of ciphertext and tag. Key and vector
// are fixed by the envelope, so at most one text sealed here may ever be sent:
// two would reveal each other and let anyone forge further answers.
//
// Seal panics after Wipe.
func (s *Sealer) Seal(plaintext []byte) []byte {
	room := ciphertexts.Get().(*[]byte)
	sealed := s.aead.Seal((*room)[:0], s.iv[:], plaintext, nil)
	answer := base64.StdEncoding.AppendEncode(make([]byte, 0, base64.StdEncoding.EncodedLen(len(sealed))), sealed)
	if cap(sealed) <= largestKept {
		*room = sealed
		ciphertexts.Put(room)
	}
	return answer
}

// ciphertexts are used again: they are what the answer says in base64, no secret.
var ciphertexts = sync.Pool{New: func() any { return new([]byte) }}

// largestKept bounds a ciphertext that is used again, in bytes. Answers are rarely
// over a few KiB.
const largestKept = 64 << 10

// Wipe forgets the AES key. Open has zeroed the key's bytes already; what Wipe
// drops is the expanded form, which the standard library gives no way to zero.
func (s *Sealer) Wipe() {
	s.aead = nil
	clear(s.iv[:])
}
