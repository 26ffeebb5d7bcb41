package phone

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// Envelope is one sealed request and what opens the answer to it.
type Envelope struct {
	Body []byte // the request's body; Meta's proxy escapes each slash in it

	aead cipher.AEAD
	iv   []byte // of the answer: the request's, inverted
}

// Seal encrypts a plaintext for the business under a new AES key and vector.
func (p *Phone) Seal(payload []byte) (*Envelope, error) {
	if p.PublicKey == nil {
		return nil, errors.New("the phone has no PublicKey")
	}
	random := p.Random
	if random == nil {
		random = rand.Reader
	}
	secret := make([]byte, 32) // AES key, then vector
	if _, err := io.ReadFull(random, secret); err != nil {
		return nil, fmt.Errorf("reading random bytes: %w", err)
	}
	key, iv := secret[:16], secret[16:]

	wrapped, err := rsa.EncryptOAEP(sha256.New(), rand.Reader, p.PublicKey, key, nil)
	if err != nil {
		return nil, fmt.Errorf("wrapping the AES key: %w", err)
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	aead, err := cipher.NewGCMWithNonceSize(block, len(iv))
	if err != nil {
		return nil, err
	}
	body, err := encode(map[string][]byte{
		"encrypted_flow_data": aead.Seal(nil, iv, payload, nil),
		"encrypted_aes_key":   wrapped,
		"initial_vector":      iv,
	})
	if err != nil {
		return nil, err
	}
	e := &Envelope{Body: bytes.ReplaceAll(body, []byte("/"), []byte(`\/`)), aead: aead, iv: make([]byte, len(iv))}
	for i, b := range iv {
		e.iv[i] = ^b
	}
	return e, nil
}

// Open decrypts the body of an answer: base64, standard alphabet with padding,
// and nothing around it.
func (e *Envelope) Open(sealed []byte) ([]byte, error) {
	if bytes.ContainsAny(sealed, "\r\n") {
		return nil, errors.New("the body has line ends in or behind its base64")
	}
	data, err := base64.StdEncoding.Strict().DecodeString(string(sealed))
	if err != nil {
		return nil, fmt.Errorf("the body is not base64 (%d bytes)", len(sealed))
	}
	plaintext, err := e.aead.Open(nil, e.iv, data, nil)
	if err != nil {
		return nil, errors.New("the body is not sealed under this request's key and inverted vector")
	}
	return plaintext, nil
}

// encode writes JSON as clients do, without Go's escapes for HTML.
func encode(value any) ([]byte, error) {
	var b bytes.Buffer
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(value); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}
