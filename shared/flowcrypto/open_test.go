package flowcrypto_test

import (
	"bytes"
	"crypto"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"io"
	"testing"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/flowcrypto"
)

// envelope builds a request as a client would, with any sizes.
func envelope(t testing.TB, public *rsa.PublicKey, aesKey, iv, plaintext []byte) envelopeJSON {
	t.Helper()
	wrapped, err := rsa.EncryptOAEP(sha256.New(), rand.Reader, public, aesKey, nil)
	if err != nil {
		t.Fatal(err)
	}
	var data []byte
	if block, err := aes.NewCipher(aesKey); err == nil && len(iv) > 0 {
		aead, err := cipher.NewGCMWithNonceSize(block, len(iv))
		if err != nil {
			t.Fatal(err)
		}
		data = aead.Seal(nil, iv, plaintext, nil)
	}
	encode := base64.StdEncoding.EncodeToString
	return envelopeJSON{Key: encode(wrapped), Data: encode(data), IV: encode(iv)}
}

func sixteen(b byte) []byte { return bytes.Repeat([]byte{b}, 16) }

func TestEnvelopesThatCannotBeDecrypted(t *testing.T) {
	key := businessKey(t)
	stranger, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	text := []byte(`{"action":"ping"}`)
	good := envelope(t, &key.PublicKey, sixteen(1), sixteen(2), text)
	withEachKey(t, func(t *testing.T, key crypto.Decrypter) {
		if plaintext, _, err := parse(t, good.body(t)).Open(key); err != nil || !bytes.Equal(plaintext, text) {
			t.Fatalf("the sound envelope gave %q, %v", plaintext, err)
		}
	})
	change := func(alter func(e *envelopeJSON)) envelopeJSON {
		e := good
		alter(&e)
		return e
	}
	flip := func(text string, at int) string {
		raw, err := base64.StdEncoding.DecodeString(text)
		if err != nil {
			t.Fatal(err)
		}
		raw[(at+len(raw))%len(raw)] ^= 1
		return base64.StdEncoding.EncodeToString(raw)
	}
	for name, e := range map[string]envelopeJSON{
		"sealed for another public key": envelope(t, &stranger.PublicKey, sixteen(1), sixteen(2), text),
		"AES key of 32 bytes":           envelope(t, &key.PublicKey, append(sixteen(1), sixteen(1)...), sixteen(2), text),
		"AES key of 24 bytes":           envelope(t, &key.PublicKey, append(sixteen(1), sixteen(1)[:8]...), sixteen(2), text),
		"AES key of no bytes":           envelope(t, &key.PublicKey, nil, sixteen(2), text),
		"vector of 12 bytes":            envelope(t, &key.PublicKey, sixteen(1), sixteen(2)[:12], text),
		"vector of 17 bytes":            envelope(t, &key.PublicKey, sixteen(1), append(sixteen(2), 2), text),
		"vector of no bytes":            change(func(e *envelopeJSON) { e.IV = "" }),
		"vector altered":                change(func(e *envelopeJSON) { e.IV = flip(e.IV, 0) }),
		"tag altered":                   change(func(e *envelopeJSON) { e.Data = flip(e.Data, -1) }),
		"ciphertext altered":            change(func(e *envelopeJSON) { e.Data = flip(e.Data, 0) }),
		"data shorter than the tag":     change(func(e *envelopeJSON) { e.Data = base64.StdEncoding.EncodeToString(sixteen(0)[:15]) }),
		"no data":                       change(func(e *envelopeJSON) { e.Data = "" }),
		"wrapped key altered":           change(func(e *envelopeJSON) { e.Key = flip(e.Key, 100) }),
		"wrapped key cut off":           change(func(e *envelopeJSON) { e.Key = "AAAA" }),
		"no wrapped key":                change(func(e *envelopeJSON) { e.Key = "" }),
	} {
		t.Run(name, func(t *testing.T) {
			withEachKey(t, func(t *testing.T, key crypto.Decrypter) {
				plaintext, sealer, err := parse(t, e.body(t)).Open(key)
				// The very value: a wrapped error would tell which check failed.
				if err != flowcrypto.ErrCannotDecrypt || plaintext != nil || sealer != nil {
					t.Errorf("got %d bytes, sealer %v, error %v; expected ErrCannotDecrypt alone", len(plaintext), sealer, err)
				}
			})
		})
	}
}

func TestKeysAreTriedInTurnOnOneEnvelope(t *testing.T) {
	key := businessKey(t)
	stranger, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	text := []byte(`{"action":"ping"}`)
	body := envelope(t, &key.PublicKey, sixteen(1), sixteen(2), text).body(t)
	withEachKey(t, func(t *testing.T, key crypto.Decrypter) {
		e := parse(t, body)
		if _, _, err := e.Open(stranger); err != flowcrypto.ErrCannotDecrypt {
			t.Fatalf("the wrong key gave %v", err)
		}
		if plaintext, _, err := e.Open(key); err != nil || !bytes.Equal(plaintext, text) {
			t.Fatalf("the right key after it gave %q, %v", plaintext, err)
		}
		if _, _, err := e.Open(key); err != flowcrypto.ErrCannotDecrypt {
			t.Fatalf("a used envelope gave %v", err)
		}
	})
}

// hsm is a key that never leaves its device: a crypto.Decrypter and no more.
type hsm struct {
	key     *rsa.PrivateKey
	options crypto.DecrypterOpts
	handed  []byte
	fail    error
}

func (h *hsm) Public() crypto.PublicKey { return h.key.Public() }

func (h *hsm) Decrypt(random io.Reader, ciphertext []byte, options crypto.DecrypterOpts) ([]byte, error) {
	if h.fail != nil {
		return nil, h.fail
	}
	h.options = options
	plaintext, err := h.key.Decrypt(random, ciphertext, options)
	h.handed = plaintext
	return plaintext, err
}

func TestKeyMayLiveInAnHSM(t *testing.T) {
	device := &hsm{key: businessKey(t)}
	request := envelope(t, &device.key.PublicKey, sixteen(7), sixteen(2), []byte("{}"))
	plaintext, sealer, err := parse(t, request.body(t)).Open(device)
	if err != nil || string(plaintext) != "{}" {
		t.Fatalf("got %q, %v", plaintext, err)
	}
	options, ok := device.options.(*rsa.OAEPOptions)
	if !ok || options.Hash != crypto.SHA256 || options.MGFHash != crypto.SHA256 || len(options.Label) != 0 {
		t.Errorf("asked the device for %+v, expected OAEP with SHA-256 twice and no label", device.options)
	}
	if !bytes.Equal(device.handed, make([]byte, 16)) {
		t.Error("the AES key was left in memory after the envelope was opened")
	}
	sealer.Seal([]byte("{}"))
	sealer.Wipe()
	defer func() {
		if recover() == nil {
			t.Error("a wiped sealer sealed")
		}
	}()
	sealer.Seal([]byte("{}"))
}

func TestFailureOfTheDeviceTellsNothing(t *testing.T) {
	device := &hsm{key: businessKey(t), fail: errors.New("slot 3: bad padding")}
	request := envelope(t, &device.key.PublicKey, sixteen(7), sixteen(2), []byte("{}"))
	if _, _, err := parse(t, request.body(t)).Open(device); err != flowcrypto.ErrCannotDecrypt {
		t.Errorf("got %v, expected ErrCannotDecrypt", err)
	}
}
