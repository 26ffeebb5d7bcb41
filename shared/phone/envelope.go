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

const (
	keySize = 16 // of AES-128
	ivSize  = 16 // not the usual 12 of GCM
)

// Envelope is one sealed request and what opens the answer to it.
type Envelope struct {
	Body []byte // the request's body; Meta's proxy escapes each slash in it

	aead cipher.AEAD
	iv   []byte // of the answer: the request's, inverted
}

// SessionKey is an AES key as it is sent: wrapped for the business. A client
// makes a new one for each request.
type SessionKey struct {
	aead    cipher.AEAD
	wrapped []byte // base64 as in the envelope, slashes escaped
}

// NewSessionKey makes and wraps an AES key. This is most of what a request costs
// the phone, and can be done ahead. random is where the key comes from; nil is
// crypto/rand.
func NewSessionKey(public *rsa.PublicKey, random io.Reader) (*SessionKey, error) {
	if random == nil {
		random = rand.Reader
	}
	key := make([]byte, keySize)
	if _, err := io.ReadFull(random, key); err != nil {
		return nil, fmt.Errorf("reading random bytes: %w", err)
	}
	wrapped, err := rsa.EncryptOAEP(sha256.New(), rand.Reader, public, key, nil)
	if err != nil {
		return nil, fmt.Errorf("wrapping the AES key: %w", err)
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	aead, err := cipher.NewGCMWithNonceSize(block, ivSize)
	if err != nil {
		return nil, err
	}
	return &SessionKey{aead: aead, wrapped: appendEscaped(nil, wrapped)}, nil
}

// Seal encrypts a plaintext for the business under a new AES key and vector.
func (p *Phone) Seal(payload []byte) (*Envelope, error) {
	if p.PublicKey == nil {
		return nil, errors.New("the phone has no PublicKey")
	}
	var key *SessionKey
	if p.Keys != nil {
		key = p.Keys(p.PublicKey)
	}
	if key == nil {
		var err error
		if key, err = NewSessionKey(p.PublicKey, p.Random); err != nil {
			return nil, err
		}
	}
	random := p.Random
	if random == nil {
		random = rand.Reader
	}
	iv := make([]byte, ivSize, 2*ivSize)
	if _, err := io.ReadFull(random, iv); err != nil {
		return nil, fmt.Errorf("reading random bytes: %w", err)
	}
	sealed := key.aead.Seal(nil, iv, payload, nil)
	body := make([]byte, 0, 128+len(key.wrapped)+len(sealed)*3/2)
	body = append(append(body, `{"encrypted_aes_key":"`...), key.wrapped...)
	body = appendEscaped(append(body, `","encrypted_flow_data":"`...), sealed)
	body = appendEscaped(append(body, `","initial_vector":"`...), iv)
	e := &Envelope{Body: append(body, `"}`...), aead: key.aead, iv: iv[ivSize : 2*ivSize]}
	for i, b := range iv {
		e.iv[i] = ^b
	}
	return e, nil
}

// appendEscaped appends data in base64 as it stands in Meta's JSON: each slash
// behind a backslash.
func appendEscaped(to, data []byte) []byte {
	begin := len(to)
	to = base64.StdEncoding.AppendEncode(to, data)
	slashes := bytes.Count(to[begin:], []byte("/"))
	if slashes == 0 {
		return to
	}
	// From the end, so that nothing is overwritten before it was moved.
	from := len(to)
	to = append(to, make([]byte, slashes)...)
	for at := len(to); from > begin; {
		from--
		at--
		to[at] = to[from]
		if to[from] == '/' {
			at--
			to[at] = '\\'
		}
	}
	return to
}

// Open decrypts the body of an answer: base64, standard alphabet with padding,
// and nothing around it.
func (e *Envelope) Open(sealed []byte) ([]byte, error) {
	if bytes.ContainsAny(sealed, "\r\n") {
		return nil, errors.New("the body has line ends in or behind its base64")
	}
	if len(sealed) == 0 {
		return nil, errors.New("the body is empty: nothing of a flow answers this URL")
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

// Wrapped is the key as it is sent, in base64.
func (k *SessionKey) Wrapped() string {
	return string(bytes.ReplaceAll(k.wrapped, []byte(`\/`), []byte("/")))
}
