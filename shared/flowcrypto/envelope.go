// Package flowcrypto opens the encrypted requests that WhatsApp sends to a Flow
// endpoint, seals the answers, and reads the private keys operators hold.
//
// A request body is an envelope: a JSON object of three base64 fields.
//
//	encrypted_aes_key    a 16-byte AES key under RSA-2048 OAEP, SHA-256 for
//	                     both the label hash and MGF1, empty label
//	initial_vector       16 bytes, longer than the 12 that GCM usually has
//	encrypted_flow_data  AES-128-GCM ciphertext, then the 16-byte tag
//
// The answer is sealed under the same AES key and the same vector with every
// byte XOR 0xFF (inverted, not reversed), and sent as bare base64:
//
//	envelope, err := flowcrypto.ParseEnvelope(body) // error: answer 400
//	plaintext, sealer, err := envelope.Open(key)    // ErrCannotDecrypt: answer 421
//	answer := sealer.Seal(reply)
//	sealer.Wipe()
//
// Source: Meta, "Implementing Endpoints for Flows",
// https://developers.facebook.com/docs/whatsapp/flows/guides/implementingyourflowendpoint
package flowcrypto

import (
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
)

// Envelope is one parsed request. It is not safe for concurrent use.
type Envelope struct {
	// Hash identifies the envelope: SHA-256 over the encrypted AES key, the
	// vector and the ciphertext with its tag, each base64-decoded. Two bodies
	// that differ only in JSON escapes, spacing or extra fields have one Hash.
	Hash [sha256.Size]byte

	encryptedKey []byte
	iv           []byte
	data         []byte // ciphertext, then tag
}

// PlaintextLen is the length of what Open returns, in bytes, known before it is
// decrypted; 0 when it cannot be opened at all.
func (e *Envelope) PlaintextLen() int { return max(0, len(e.data)-tagSize) }

const (
	fieldKey  = "encrypted_aes_key"
	fieldIV   = "initial_vector"
	fieldData = "encrypted_flow_data"
)

// ParseEnvelope reads a request body. Its error means that the body is not an
// envelope at all (malformed JSON, a field missing, given twice, or not
// base64) and is answered with status 400; it never repeats the body. Wrong
// lengths inside are left to Open, because they are answered with 421.
//
// Unknown fields and any order of fields are accepted. body is not modified
// and not kept.
func ParseEnvelope(body []byte) (*Envelope, error) {
	e := new(Envelope)
	// All fields lie in one piece of memory, which has room for any split of
	// the body.
	room := make([]byte, 0, strict.DecodedLen(len(body)))
	err := eachMember(body, func(name, value []byte) error {
		var field *[]byte
		switch string(name) {
		case fieldKey:
			field = &e.encryptedKey
		case fieldIV:
			field = &e.iv
		case fieldData:
			field = &e.data
		default:
			if !json.Valid(value) {
				return errMalformed
			}
			return nil
		}
		if *field != nil {
			return fmt.Errorf("field %s is there twice, expected once", name)
		}
		if value[0] != '"' {
			return fmt.Errorf("field %s is %s, expected a string of base64", name, kindOf(value))
		}
		before := len(room)
		decoded, ok := appendBase64(room, value[1:len(value)-1])
		if !ok {
			return fmt.Errorf("field %s is not base64, expected the standard alphabet with padding", name)
		}
		room, *field = decoded, decoded[before:len(decoded):len(decoded)]
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("envelope: %w", err)
	}
	for _, field := range []struct {
		name  string
		value []byte
	}{{fieldKey, e.encryptedKey}, {fieldIV, e.iv}, {fieldData, e.data}} {
		if field.value == nil {
			return nil, fmt.Errorf("envelope: field %s is missing, expected %s, %s and %s", field.name, fieldKey, fieldIV, fieldData)
		}
	}

	h := sha256.New()
	h.Write(e.encryptedKey)
	h.Write(e.iv)
	h.Write(e.data)
	h.Sum(e.Hash[:0])
	return e, nil
}

var errMalformed = errors.New("the body is malformed JSON, expected one JSON object")
