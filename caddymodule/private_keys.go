package caddymodule

import (
	"bytes"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/caddymodule/internal/keyring"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/flowcrypto"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/setting"
)

// PrivateKey is one private key as PEM text, usually a placeholder such as
// `{file./run/secrets/flow.pem}`.
type PrivateKey struct {
	// PEM is the key: PKCS#1 or PKCS#8, encrypted or not.
	PEM string `json:"pem,omitempty"`

	// Passphrase opens an encrypted key.
	Passphrase string `json:"passphrase,omitempty"`
}

// KeyDirectory is a directory of private keys, such as `keys rotate` changes:
// `2026-11-29.pem`, the passphrase that opens it beside it in `2026-11-29.pass`,
// the newest the current one.
type KeyDirectory struct {
	// Path is the directory.
	Path string `json:"path,omitempty"`

	// Passphrase opens the keys that have no passphrase beside them.
	Passphrase string `json:"passphrase,omitempty"`
}

// readKeys reads the keys of the directory, then those listed one by one. Without
// either, both come from the environment.
func (a *Account) readKeys(r keyReader, env setting.Source) error {
	if a.KeyDirectory == nil && len(a.PrivateKeys) == 0 {
		return r.environment(env)
	}
	if a.KeyDirectory != nil {
		dir, err := resolvePlaceholders(a.KeyDirectory.Path)
		if err != nil {
			return fmt.Errorf("private_keys: %w", err)
		}
		passphrase, err := resolvePlaceholders(a.KeyDirectory.Passphrase)
		if err != nil {
			return fmt.Errorf("passphrase of private_keys: %w", err)
		}
		if err := r.directory(dir, passphrase); err != nil {
			return fmt.Errorf("private_keys: %w", err)
		}
	}
	for i, key := range a.PrivateKeys {
		name := fmt.Sprintf("private_key %d", i+1)
		pem, err := resolvePlaceholders(key.PEM)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		passphrase, err := resolvePlaceholders(key.Passphrase)
		if err != nil {
			return fmt.Errorf("passphrase of %s: %w", name, err)
		}
		if from := namedPlaceholder.FindString(key.PEM); from != "" {
			name += " (" + from + ")"
		}
		if err := r.add([]byte(pem), []byte(passphrase), name); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return nil
}

// keyReader adds keys to credentials that are being read.
type keyReader struct {
	account string
	*credentials
	before *credentials // whose keys are taken over; nil at first
}

// environment reads PRIVATE_KEYS_DIR, then PRIVATE_KEY.
func (r keyReader) environment(env setting.Source) error {
	dir, _, err := env.Lookup("PRIVATE_KEYS_DIR")
	if err != nil {
		return err
	}
	pem, from, err := env.Lookup("PRIVATE_KEY")
	if err != nil || (dir == "" && pem == "") {
		return err
	}
	passphrase, _, err := env.Lookup("PASSPHRASE")
	if err != nil {
		return err
	}
	if dir != "" {
		if err := r.directory(dir, passphrase); err != nil {
			return fmt.Errorf("PRIVATE_KEYS_DIR: %w", err)
		}
	}
	if pem == "" {
		return nil
	}
	if path, ok := env.LookupEnv(from); ok && strings.HasSuffix(from, "_FILE") {
		from += " (" + path + ")"
	}
	if err := r.add([]byte(pem), []byte(passphrase), from); err != nil {
		return fmt.Errorf("%s: %w", from, err)
	}
	return nil
}

func (r keyReader) directory(dir, passphrase string) error {
	// Who asks where a key is from has another working directory.
	dir, err := filepath.Abs(dir)
	if err != nil {
		return err
	}
	r.credentials.directory = dir
	files, err := keyring.List(dir)
	if err != nil {
		return err
	}
	for _, file := range files {
		pem, err := os.ReadFile(file.Path)
		if err != nil {
			return err
		}
		opens := []byte(passphrase)
		if file.Passphrase != "" {
			if opens, err = os.ReadFile(file.Passphrase); err != nil {
				return err
			}
		}
		err = r.add(pem, bytes.TrimRight(opens, "\r\n"), file.Path)
		clear(pem)
		if err != nil {
			return fmt.Errorf("%s: %w", file.Path, err)
		}
	}
	return nil
}

// add makes a key ready. One that is there already, from another place, is not
// taken twice: that place is where it is being moved from.
func (r keyReader) add(pem, passphrase []byte, source string) error {
	if len(pem) > 0 && (pem[0] == '/' || pem[0] == '.') {
		return errors.New("this is a path, expected the PEM text of a key: write {file.PATH}")
	}
	of := originOf(pem, passphrase)
	var ready accountKey
	if made := r.before.made(of); made != nil {
		ready = *made
	} else {
		key, err := flowcrypto.ReadPrivateKey(pem, passphrase)
		if err != nil {
			return err
		}
		if ready, err = newAccountKey(key); err != nil {
			return err
		}
		if format, err := flowcrypto.Inspect(pem); err == nil && format.Encrypted() {
			ready.weakness = format.Weakness
		}
	}
	ready.source, ready.origin, ready.use = source, of, useOf(r.account, ready.fingerprint, r.loadedAt)
	for i := range r.keys {
		if r.keys[i].fingerprint == ready.fingerprint {
			(&credentials{keys: []accountKey{ready}}).closeKeys(r.before)
			return nil
		}
	}
	r.keys = append(r.keys, ready)
	return nil
}

// origin tells whether a key would be made of the same texts again. It says
// nothing of them to who does not have this process's memory, where the key is.
type origin [sha256.Size]byte

var originKey = sync.OnceValue(func() []byte {
	key := make([]byte, sha256.Size)
	rand.Read(key) // never fails
	return key
})

func originOf(pem, passphrase []byte) origin {
	mac := hmac.New(sha256.New, originKey())
	fmt.Fprintf(mac, "%d ", len(pem))
	mac.Write(pem)
	mac.Write(passphrase)
	return origin(mac.Sum(nil))
}

// requireKeys says what to do when the flow endpoint is served without a key.
func (a *Account) requireKeys() error {
	if len(a.current.Load().keys) == 0 {
		return fmt.Errorf("account %s: %w", a.name, a.missingKeys())
	}
	return nil
}

func (a *Account) missingKeys() error {
	if dir := a.current.Load().directory; dir != "" {
		return fmt.Errorf("there is no private key in %s: make one with `caddy whatsapp-flows keys create --dir %s`", dir, dir)
	}
	return missing("private_key", "PRIVATE_KEY")
}
