package keyscommand

import (
	"crypto/rand"
	"crypto/rsa"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/caddymodule/internal/keyring"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/flowcrypto"
)

const keyBits = 2048 // the only size WhatsApp takes

// destination is where a key is written.
type destination struct {
	file, directory string
	public          string // file of the public key; "" is beside the key
	passphraseFile  string // "-" is standard input
	drawn           string // file for a passphrase that is drawn
}

func (d *destination) flags(cmd *cobra.Command, passphrase string) {
	f := cmd.Flags()
	f.StringVar(&d.directory, "dir", "", "add the key to this directory of keys (private_keys) as the newest")
	f.StringVar(&d.public, "public", "", "file for the public key (PEM); without it, beside the key as .pub")
	f.StringVar(&d.passphraseFile, passphrase, "", "file of the new key's passphrase; - is standard input")
	f.StringVar(&d.drawn, "draw-passphrase", "", "draw a passphrase and write it to this new file (mode 0600)")
}

func (d *destination) check(passphrase string) error {
	if (d.file == "") == (d.directory == "") {
		return errors.New("expected the name of a new file for the key, or --dir DIRECTORY, but not both")
	}
	if d.passphraseFile != "" && d.drawn != "" {
		return fmt.Errorf("--%s and --draw-passphrase are both given, expected one of them", passphrase)
	}
	if d.directory != "" && d.drawn != "" {
		return errors.New("--draw-passphrase is not for --dir, where a passphrase is drawn anyway and put beside the key")
	}
	if d.file != "" && d.public == "" {
		d.public = strings.TrimSuffix(d.file, ".pem") + ".pub"
	}
	// Told before a passphrase is asked for; the writing itself makes sure again.
	for _, path := range []string{d.file, d.public, d.drawn} {
		if path == "" {
			continue
		}
		if err := keyring.Free(path); err != nil {
			return err
		}
	}
	return nil
}

func (w World) create() *cobra.Command {
	var to destination
	cmd := &cobra.Command{
		Use:   "create FILE | --dir DIRECTORY",
		Short: "Makes a new key: RSA-2048, encrypted",
		Long: `Makes an RSA key of 2048 bits and writes it as an encrypted PKCS#8 PEM
(AES-256, PBKDF2 of 600000 rounds) with mode 0600, and its public half beside it.
A file that is there already is never written over.

The passphrase is asked for twice, or read from --passphrase-file, or from
standard input. With --dir the key gets a drawn passphrase of its own beside it,
unless --passphrase-file gives the one that the whole directory has.

Prints where the public key is, and its fingerprint: the SHA-256 of the SPKI.`,
		Example: `  caddy whatsapp-flows keys create flow.pem
  caddy whatsapp-flows keys create flow.pem --draw-passphrase flow.pass
  caddy whatsapp-flows keys create --dir /etc/whatsapp-flows/keys`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			to.file = strings.Join(args, "")
			if err := to.check("passphrase-file"); err != nil {
				return err
			}
			key, err := rsa.GenerateKey(rand.Reader, keyBits)
			if err != nil {
				return err
			}
			_, err = w.write(key, to, nil)
			return err
		},
	}
	to.flags(cmd, "passphrase-file")
	return cmd
}

// write writes a key and tells of its public half. passphrase is used when
// neither a file of one is given nor one is drawn; without it one is asked for.
func (w World) write(key *rsa.PrivateKey, to destination, passphrase []byte) (file keyring.File, err error) {
	public := flowcrypto.PublicPEM(&key.PublicKey)
	fingerprint := flowcrypto.Fingerprint(&key.PublicKey)
	var beside []byte // a passphrase that is written, too
	switch {
	case to.drawn != "" || (to.directory != "" && to.passphraseFile == ""):
		beside = drawnPassphrase()
		passphrase = beside
	case to.passphraseFile != "" || passphrase == nil:
		if passphrase, err = w.newPassphrase(to.passphraseFile); err != nil {
			return file, err
		}
	}
	text, err := w.Encrypt(key, passphrase)
	if err != nil {
		return file, err
	}
	if to.directory != "" {
		if file, err = keyring.Add(to.directory, text, beside, public, w.Now()); err != nil {
			return file, err
		}
		if to.public != "" {
			if err := keyring.WriteNew(keyring.NewFile{Path: to.public, Content: public, Mode: keyring.ModePublic}); err != nil {
				return file, errors.Join(err, file.Remove())
			}
		}
		w.tell(file.Public(), fingerprint)
		return file, nil
	}
	file.Path = to.file
	var parts []keyring.NewFile
	if to.drawn != "" {
		parts = append(parts, keyring.NewFile{Path: to.drawn, Content: beside, Mode: keyring.ModePrivate})
	}
	parts = append(parts,
		keyring.NewFile{Path: to.public, Content: public, Mode: keyring.ModePublic},
		keyring.NewFile{Path: to.file, Content: text, Mode: keyring.ModePrivate})
	if err := keyring.WriteNew(parts...); err != nil {
		return file, err
	}
	w.tell(to.public, fingerprint)
	return file, nil
}

func (w World) tell(public, fingerprint string) {
	fmt.Fprintf(w.Out, "public key   %s\nfingerprint  %s\n", public, fingerprint)
}
