package keyscommand

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"io"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/flowcrypto"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/setting"
)

const (
	// shortest passphrase of a new key, in bytes. Long ones cost nothing: nobody
	// types it but once.
	shortest = 12

	maxPassphrase = 64 << 10
	maxKeyFile    = 1 << 20
)

// passphrase reads one from a file, from standard input ("-"), or, when no file
// is given, from the terminal, else from standard input. One line end behind it is
// cut, as everywhere.
func (w World) passphrase(file, question string) ([]byte, error) {
	var text []byte
	var err error
	switch {
	case file != "" && file != "-":
		if text, err = w.Env.ReadFile(file); err != nil {
			return nil, fmt.Errorf("passphrase: %w", err)
		}
	case file == "" && w.Prompt != nil:
		if text, err = w.Prompt(question); err != nil {
			return nil, fmt.Errorf("reading the passphrase from the terminal: %w", err)
		}
	default:
		if text, err = io.ReadAll(io.LimitReader(w.In, maxPassphrase)); err != nil {
			return nil, fmt.Errorf("reading the passphrase from standard input: %w", err)
		}
	}
	text = bytes.TrimSuffix(bytes.TrimSuffix(text, []byte("\n")), []byte("\r"))
	if len(text) == 0 {
		return nil, errors.New("the passphrase is empty: type one, or give --passphrase-file FILE, or write it to standard input")
	}
	return text, nil
}

// newPassphrase is passphrase for a key that is made now: from a terminal it is
// asked for twice, and a weak one is refused.
func (w World) newPassphrase(file string) ([]byte, error) {
	text, err := w.passphrase(file, "Passphrase of the new key: ")
	if err != nil {
		return nil, err
	}
	if err := flowcrypto.CheckPassphrase(text); err != nil {
		return nil, err
	}
	if len(text) < shortest {
		return nil, fmt.Errorf("the passphrase has %d characters, expected at least %d: `openssl rand -hex 16` makes a good one", len(text), shortest)
	}
	if setting.IsPlaceholder(string(text)) {
		return nil, errors.New("the passphrase is the placeholder of an example, which the edge would refuse")
	}
	if file == "" && w.Prompt != nil {
		again, err := w.Prompt("The same once more: ")
		if err != nil {
			return nil, fmt.Errorf("reading the passphrase from the terminal: %w", err)
		}
		if !bytes.Equal(again, text) {
			return nil, errors.New("the two passphrases differ: nothing is written")
		}
	}
	return text, nil
}

// drawnPassphrase is one that nobody has to know: 128 bits and more.
func drawnPassphrase() []byte { return []byte(rand.Text()) }
