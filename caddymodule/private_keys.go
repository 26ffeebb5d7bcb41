package caddymodule

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

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
func (a *Account) readKeys(c *credentials, env setting.Source) error {
	if a.KeyDirectory == nil && len(a.PrivateKeys) == 0 {
		return a.readKeysOfEnvironment(c, env)
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
		if err := a.readKeyDirectory(c, dir, passphrase); err != nil {
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
		if err := a.addKey(c, []byte(pem), []byte(passphrase), name); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return nil
}

// readKeysOfEnvironment reads PRIVATE_KEYS_DIR, then PRIVATE_KEY.
func (a *Account) readKeysOfEnvironment(c *credentials, env setting.Source) error {
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
		if err := a.readKeyDirectory(c, dir, passphrase); err != nil {
			return fmt.Errorf("PRIVATE_KEYS_DIR: %w", err)
		}
	}
	if pem == "" {
		return nil
	}
	if path, ok := env.LookupEnv(from); ok && strings.HasSuffix(from, "_FILE") {
		from += " (" + path + ")"
	}
	if err := a.addKey(c, []byte(pem), []byte(passphrase), from); err != nil {
		return fmt.Errorf("%s: %w", from, err)
	}
	return nil
}

func (a *Account) readKeyDirectory(c *credentials, dir, passphrase string) error {
	files, err := keyring.List(dir)
	if err != nil {
		return err
	}
	if c.directory, err = filepath.Abs(dir); err != nil {
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
		err = a.addKey(c, pem, bytes.TrimRight(opens, "\r\n"), file.Path)
		clear(pem)
		if err != nil {
			return fmt.Errorf("%s: %w", file.Path, err)
		}
	}
	return nil
}

// addKey makes a key ready. One that is there already, from another place, is not
// taken twice: that place is where it is being moved from.
func (a *Account) addKey(c *credentials, pem, passphrase []byte, source string) error {
	if len(pem) > 0 && (pem[0] == '/' || pem[0] == '.') {
		return errors.New("this is a path, expected the PEM text of a key: write {file.PATH}")
	}
	key, err := flowcrypto.ReadPrivateKey(pem, passphrase)
	if err != nil {
		return err
	}
	fingerprint := flowcrypto.Fingerprint(&key.PublicKey)
	for i := range c.keys {
		if c.keys[i].fingerprint == fingerprint {
			return nil
		}
	}
	ready, err := newAccountKey(key)
	if err != nil {
		return err
	}
	ready.source, ready.use = source, useOf(a.name, fingerprint, c.loadedAt)
	if format, err := flowcrypto.Inspect(pem); err == nil && format.Encrypted() {
		ready.weakness = format.Weakness
	}
	c.keys = append(c.keys, ready)
	return nil
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
