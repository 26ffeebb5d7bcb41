package caddymodule

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"errors"
	"io"
	"testing"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/flowcrypto"
)

// module is a key that lives elsewhere, as in an HSM: all it can do is decrypt.
type module struct {
	key  *rsa.PrivateKey
	used int
}

func (m *module) Public() crypto.PublicKey { return m.key.Public() }

func (m *module) Decrypt(random io.Reader, ciphertext []byte, options crypto.DecrypterOpts) ([]byte, error) {
	m.used++
	return m.key.Decrypt(random, ciphertext, options)
}

func TestTheKeyThatFittedLastIsTriedFirst(t *testing.T) {
	var modules []*module
	account := new(credentials)
	for range 3 {
		key, err := rsa.GenerateKey(rand.Reader, 2048)
		if err != nil {
			t.Fatal(err)
		}
		modules = append(modules, &module{key: key})
		account.keys = append(account.keys, accountKey{Decrypter: modules[len(modules)-1]})
	}
	open := func(public *rsa.PublicKey) error {
		envelope, err := flowcrypto.ParseEnvelope(seal(t, public, request{"action": "ping"}).body)
		if err != nil {
			t.Fatal(err)
		}
		_, _, _, err = account.open(envelope)
		return err
	}
	for _, c := range []struct {
		name string
		key  int
		used [3]int
	}{
		{"the third fits: the others were tried before", 2, [3]int{1, 1, 1}},
		{"the third again: it is tried first", 2, [3]int{1, 1, 2}},
		{"the first: after the third", 0, [3]int{2, 1, 3}},
		{"the first again", 0, [3]int{3, 1, 3}},
		{"the second: after the first", 1, [3]int{4, 2, 3}},
	} {
		if err := open(&modules[c.key].key.PublicKey); err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
		if used := [3]int{modules[0].used, modules[1].used, modules[2].used}; used != c.used {
			t.Errorf("%s: the keys were used %v times, expected %v", c.name, used, c.used)
		}
	}
	stranger, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	if err := open(&stranger.PublicKey); !errors.Is(err, flowcrypto.ErrCannotDecrypt) {
		t.Errorf("an envelope for another key: %v", err)
	}
}
