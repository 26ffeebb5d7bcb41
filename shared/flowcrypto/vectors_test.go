package flowcrypto_test

import (
	"bytes"
	"crypto"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rsa"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/flowcrypto"
)

type envelopeJSON struct {
	Key  string `json:"encrypted_aes_key"`
	Data string `json:"encrypted_flow_data"`
	IV   string `json:"initial_vector"`
}

// vectors are testdata/flow_vectors.json, made with pyca/cryptography.
type vectors struct {
	AESKey  string `json:"aes_key_hex"`
	IV      string `json:"iv_hex"`
	Vectors []struct {
		Name      string       `json:"name"`
		Request   envelopeJSON `json:"request"`
		Plaintext string       `json:"plain_request"`
		Reply     string       `json:"plain_response"`
		Sealed    string       `json:"encrypted_response"`
	} `json:"vectors"`
	Negative []struct {
		Name string `json:"name"`
		Key  string `json:"encrypted_aes_key"`
	} `json:"negative"`
	Signature struct {
		RawBody string `json:"raw_body"`
	} `json:"signature"`
}

func loadVectors(t testing.TB) vectors {
	t.Helper()
	raw, err := os.ReadFile("testdata/flow_vectors.json")
	if err != nil {
		t.Fatal(err)
	}
	var v vectors
	if err := json.Unmarshal(raw, &v); err != nil {
		t.Fatal(err)
	}
	return v
}

func keyFile(t testing.TB, name string) []byte {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join("testdata", "keys", name))
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func businessKey(t testing.TB) *rsa.PrivateKey {
	t.Helper()
	key, err := flowcrypto.ReadPrivateKey(keyFile(t, "rsa_pkcs8_plain.pem"), nil)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func (e envelopeJSON) body(t testing.TB) []byte {
	t.Helper()
	body, err := json.Marshal(e)
	if err != nil {
		t.Fatal(err)
	}
	return body
}

func parse(t testing.TB, body []byte) *flowcrypto.Envelope {
	t.Helper()
	e, err := flowcrypto.ParseEnvelope(body)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func TestVectorsOpenAndSealByteForByte(t *testing.T) {
	withEachKey(t, testVectorsOpenAndSeal)
}

func testVectorsOpenAndSeal(t *testing.T, key crypto.Decrypter) {
	v := loadVectors(t)
	if len(v.Vectors) != 4 || len(v.Negative) != 3 {
		t.Fatalf("testdata holds %d vectors and %d negatives, expected 4 and 3", len(v.Vectors), len(v.Negative))
	}
	for _, vector := range v.Vectors {
		t.Run(vector.Name, func(t *testing.T) {
			plaintext, sealer, err := parse(t, vector.Request.body(t)).Open(key)
			if err != nil {
				t.Fatal(err)
			}
			if string(plaintext) != vector.Plaintext {
				t.Errorf("opened %s\nexpected %s", plaintext, vector.Plaintext)
			}
			if sealed := sealer.Seal([]byte(vector.Reply)); string(sealed) != vector.Sealed {
				t.Errorf("sealed %s\nexpected %s", sealed, vector.Sealed)
			}
		})
	}
}

func TestVectorsOfOtherPaddingsAndKeySizesCannotBeDecrypted(t *testing.T) {
	withEachKey(t, testVectorsThatCannotBeDecrypted)
}

func testVectorsThatCannotBeDecrypted(t *testing.T, key crypto.Decrypter) {
	v := loadVectors(t)
	for _, negative := range v.Negative {
		t.Run(negative.Name, func(t *testing.T) {
			request := v.Vectors[0].Request
			request.Key = negative.Key
			plaintext, sealer, err := parse(t, request.body(t)).Open(key)
			if err != flowcrypto.ErrCannotDecrypt || plaintext != nil || sealer != nil {
				t.Errorf("got %d bytes, sealer %v, error %v; expected ErrCannotDecrypt alone", len(plaintext), sealer, err)
			}
		})
	}
}

// The symmetric half alone, with the values printed in Meta's terms: key
// 000102…0f, request vector 101112…1f.
func TestResponseVectorIsTheRequestVectorInverted(t *testing.T) {
	const ping = "vryB0w/BTee4OvmgkgEf9dnfQfwZb8iWi7yl5iotFMJeuQl749lOptdzv/L1T2V2PA=="
	const active = "IHgL0mWXHJ6FDPLH6+aygF5BfT+mPzwvzktiKvlmYpg8eFKqJX/07YVStaI="
	v := loadVectors(t)
	if v.AESKey != "000102030405060708090a0b0c0d0e0f" || v.IV != "101112131415161718191a1b1c1d1e1f" || v.Vectors[0].Request.Data != ping {
		t.Fatal("the ping vector is not the one of this test")
	}
	aesKey, _ := hex.DecodeString(v.AESKey)
	iv, _ := hex.DecodeString(v.IV)

	plaintext, sealer, err := parse(t, v.Vectors[0].Request.body(t)).Open(businessKey(t))
	if err != nil {
		t.Fatal(err)
	}
	if want := `{"version":"3.0","action":"ping"}`; string(plaintext) != want {
		t.Errorf("opened %s, expected %s", plaintext, want)
	}
	sealed := sealer.Seal([]byte(`{"data":{"status":"active"}}`))
	if string(sealed) != active {
		t.Errorf("sealed %s, expected %s", sealed, active)
	}

	block, err := aes.NewCipher(aesKey)
	if err != nil {
		t.Fatal(err)
	}
	aead, err := cipher.NewGCMWithNonceSize(block, len(iv))
	if err != nil {
		t.Fatal(err)
	}
	ciphertext, err := base64.StdEncoding.DecodeString(string(sealed))
	if err != nil {
		t.Fatal(err)
	}
	inverted, reversed := make([]byte, len(iv)), make([]byte, len(iv))
	for i, b := range iv {
		inverted[i], reversed[len(iv)-1-i] = ^b, b
	}
	for _, c := range []struct {
		name string
		iv   []byte
		ok   bool
	}{{"inverted", inverted, true}, {"reversed", reversed, false}, {"as it came", iv, false}} {
		if _, err := aead.Open(nil, c.iv, ciphertext, nil); (err == nil) != c.ok {
			t.Errorf("the answer opens with the vector %s: %v, expected %v", c.name, err == nil, c.ok)
		}
	}
}

func TestSignedBodyWithEscapedSlashesOpens(t *testing.T) {
	v := loadVectors(t)
	body := []byte(v.Signature.RawBody)
	if !bytes.Contains(body, []byte(`\/`)) {
		t.Fatal("the vector has no escaped slash")
	}
	before := bytes.Clone(body)
	escaped := parse(t, body)
	plaintext, _, err := escaped.Open(businessKey(t))
	if err != nil || string(plaintext) != v.Vectors[0].Plaintext {
		t.Fatalf("opened %q, %v; expected %q", plaintext, err, v.Vectors[0].Plaintext)
	}
	if !bytes.Equal(body, before) {
		t.Error("the body was modified")
	}
	var plain envelopeJSON
	if err := json.Unmarshal(body, &plain); err != nil {
		t.Fatal(err)
	}
	if again := parse(t, plain.body(t)); again.Hash != escaped.Hash {
		t.Error("the same envelope has another hash without the escapes")
	}
}
