package caddymodule

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"errors"
	"math/big"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/flowcrypto/libcrypto"
)

func TestWhichLibraryHoldsTheKeysIsSaid(t *testing.T) {
	s := newSite(t).load("", engineSite+"\n\tmetrics /metrics")
	backend, version := "crypto/rsa", "go"
	if libcrypto.Built {
		backend, version = "libcrypto", "OpenSSL "
	}
	if name := keyBackend(); !strings.HasPrefix(name, backend) || (libcrypto.Built && !strings.HasPrefix(name, "libcrypto (OpenSSL 3.")) {
		t.Errorf("the keys are held by %q, expected %s", name, backend)
	}
	want := `caddy_whatsapp_flows_private_key_backend_info{backend="` + backend + `",version="` + version
	if text := string(s.do(http.MethodGet, "/metrics", nil, nil).body); !strings.Contains(text, want) {
		t.Errorf("the metrics have no %s", want)
	}
	log, err := os.ReadFile(s.log)
	if err != nil {
		t.Fatal(err)
	}
	if want := `"private_key_backend":"` + keyBackend() + `"`; !strings.Contains(string(log), want) {
		t.Errorf("the log has no %s", want)
	}
}

func TestPrivateNumbersAreZeroedOnceLibcryptoHasThem(t *testing.T) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	private := []*big.Int{key.D, key.Primes[0], key.Primes[1], key.Precomputed.Dp, key.Precomputed.Dq, key.Precomputed.Qinv}
	wipe(key)
	for i, number := range private {
		for _, word := range number.Bits() {
			if word != 0 {
				t.Fatalf("number %d is still there", i)
			}
		}
	}
	if key.D != nil || key.N != nil {
		t.Error("the key still has its numbers")
	}
}

// A request that began before a reload may come to its key after the cleanup:
// the key serves it, and is closed only after the grace.
func TestAKeyOutlivesItsConfigurationByTheGrace(t *testing.T) {
	generated, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	public := generated.PublicKey
	ciphertext, err := rsa.EncryptOAEP(sha256.New(), rand.Reader, &public, []byte("message"), nil)
	if err != nil {
		t.Fatal(err)
	}
	key, err := newAccountKey(generated)
	if err != nil {
		t.Fatal(err)
	}
	held := &credentials{keys: []accountKey{key}}
	decrypt := func() error {
		message, err := key.Decrypt(rand.Reader, ciphertext, &rsa.OAEPOptions{Hash: crypto.SHA256, MGFHash: crypto.SHA256})
		if err == nil && string(message) != "message" {
			t.Fatalf("got %q", message)
		}
		return err
	}
	before := closeGrace
	closeGrace = time.Hour
	held.release(nil)
	if err := decrypt(); err != nil {
		t.Errorf("within the grace: %v", err)
	}
	closeGrace = time.Millisecond
	held.release(nil)
	closeGrace = before
	if libcrypto.Built {
		eventually(t, 10*time.Second, "the key is closed", func() bool { return errors.Is(decrypt(), libcrypto.ErrClosed) })
	} else if err := decrypt(); err != nil {
		t.Errorf("crypto/rsa has nothing to close: %v", err)
	}
}
