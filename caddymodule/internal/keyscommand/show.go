package keyscommand

import (
	"crypto/rsa"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/flowcrypto"
)

// errRefused ends a command that has said what is wrong.
var errRefused = errors.New("the key is not one that WhatsApp and the edge can use as it is")

func (w World) show() *cobra.Command {
	var passphraseFile, public string
	cmd := &cobra.Command{
		Use:   "show FILE",
		Short: "Tells what a key file is, and what WhatsApp would refuse of it",
		Long: `Tells the format of a private or public key, its size, its fingerprint (the
SHA-256 of the SPKI), and with --public whether both belong together. What WhatsApp
or the edge would refuse is said, and ends the command with an error. FILE is - for
standard input.

The passphrase of an encrypted key is asked for, or read from --passphrase-file.
Nothing secret is shown.`,
		Example: `  caddy whatsapp-flows keys show flow.pem --passphrase-file flow.pass --public flow.pub
  caddy whatsapp-flows keys show flow.pub`,
		Args: cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			text, err := w.readFile(args[0])
			if err != nil {
				return err
			}
			if !holdsPrivateKey(text) {
				return w.showPublic(text)
			}
			return w.showPrivate(args[0], text, passphraseFile, public)
		},
	}
	cmd.Flags().StringVar(&passphraseFile, "passphrase-file", "", "file of the passphrase; - is standard input")
	cmd.Flags().StringVar(&public, "public", "", "file of a public key that should belong to it")
	return cmd
}

// readFile reads a key; "-" is standard input.
func (w World) readFile(path string) ([]byte, error) {
	if path != "-" {
		return w.Env.ReadFile(path)
	}
	text, err := io.ReadAll(io.LimitReader(w.In, maxKeyFile+1))
	if err != nil {
		return nil, fmt.Errorf("reading the key from standard input: %w", err)
	}
	return text, nil
}

// holdsPrivateKey is false for a public key alone. What is neither is left to the
// reader of private keys, whose errors say what it is.
func holdsPrivateKey(text []byte) bool {
	_, err := flowcrypto.ReadPublicKey(text)
	return err != nil && !strings.Contains(string(text), "PUBLIC KEY-----")
}

func (w World) showPublic(text []byte) error {
	key, err := flowcrypto.ReadPublicKey(text)
	if key == nil {
		return err
	}
	w.row("format", "public key, "+map[bool]string{true: "SPKI", false: "PKCS#1"}[err == nil])
	w.row("size", fmt.Sprintf("RSA, %d bits", key.N.BitLen()))
	w.row("fingerprint", flowcrypto.Fingerprint(key))
	for _, refusal := range []error{err, flowcrypto.CheckPublicKey(key)} {
		if refusal != nil {
			w.row("refused", refusal.Error())
			err = errRefused
		}
	}
	if err == nil {
		w.row("whatsapp", "takes it")
	}
	return err
}

func (w World) showPrivate(path string, text []byte, passphraseFile, public string) error {
	format, err := flowcrypto.Inspect(text)
	if err != nil {
		return err
	}
	w.row("format", "private key, "+format.String())
	if info, err := os.Stat(path); err == nil && path != "-" {
		mode := info.Mode().Perm().String()
		if info.Mode().Perm()&0o077 != 0 {
			mode += ": others than its owner may use it; chmod 600 " + path
		}
		w.row("mode", mode)
	}
	if format.Weakness != "" {
		w.row("weak", format.Weakness+"; `caddy whatsapp-flows keys convert` writes it anew")
	}
	key, _, err := w.open(path, text, format, passphraseFile)
	var size *flowcrypto.KeySizeError
	if errors.As(err, &size) {
		w.row("size", fmt.Sprintf("RSA, %d bits", size.Bits))
		w.row("fingerprint", flowcrypto.Fingerprint(size.Public))
		w.row("refused", size.Error())
		return errRefused
	}
	if err != nil {
		return err
	}
	w.row("size", fmt.Sprintf("RSA, %d bits", keyBits))
	w.row("fingerprint", flowcrypto.Fingerprint(&key.PublicKey))
	if public == "" {
		w.row("whatsapp", "takes its public key")
		return nil
	}
	return w.compare(&key.PublicKey, public)
}

// compare says whether a file's public key is that of the private key.
func (w World) compare(ours *rsa.PublicKey, file string) error {
	text, err := w.Env.ReadFile(file)
	if err != nil {
		return err
	}
	public, err := flowcrypto.ReadPublicKey(text)
	if public == nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	if !public.Equal(ours) {
		w.row("pairs", fmt.Sprintf("no: %s is another key, %s", file, flowcrypto.Fingerprint(public)))
		return fmt.Errorf("the private key does not belong to %s: WhatsApp would encrypt what this key cannot open", file)
	}
	if err != nil {
		w.row("pairs", "yes: "+file+" belongs to it, but "+err.Error())
		return errRefused
	}
	w.row("pairs", "yes: "+file+" belongs to it")
	return nil
}

var errNeedsPassphraseFile = errors.New("the key comes by standard input and is encrypted: give its passphrase by --passphrase-file FILE")

// open reads a private key, and its passphrase if it needs one. passphrase is nil
// for a key that is not encrypted.
func (w World) open(path string, text []byte, format flowcrypto.Format, passphraseFile string) (key *rsa.PrivateKey, passphrase []byte, err error) {
	if format.Encrypted() {
		if path == "-" && (passphraseFile == "" || passphraseFile == "-") {
			return nil, nil, errNeedsPassphraseFile
		}
		if passphrase, err = w.passphrase(passphraseFile, "Passphrase of "+path+": "); err != nil {
			return nil, nil, err
		}
	}
	key, err = flowcrypto.ReadPrivateKey(text, passphrase)
	return key, passphrase, err
}

func (w World) row(name, value string) { fmt.Fprintf(w.Out, "%-12s %s\n", name, value) }
