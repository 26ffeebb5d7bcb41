package keyscommand

import (
	"github.com/spf13/cobra"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/flowcrypto"
)

func (w World) convert() *cobra.Command {
	var passphraseFile string
	var to destination
	cmd := &cobra.Command{
		Use:   "convert FILE NEWFILE | --dir DIRECTORY",
		Short: "Writes a key anew, in the form of create",
		Long: `Reads a private key in any form that the edge reads (PKCS#1 or PKCS#8, plain or
encrypted, with lost line ends or in base64) and writes it to a new file in the
form of create. FILE stays as it is; - is standard input.

The new file has the passphrase of the old one; one that was not encrypted, and
any with --new-passphrase-file or --draw-passphrase, gets a new one. With --dir
the key becomes the newest of a directory of keys.`,
		Example: `  caddy whatsapp-flows keys convert old.pem flow.pem --passphrase-file old.pass
  caddy whatsapp-flows keys convert flow.pem --passphrase-file flow.pass --dir /etc/whatsapp-flows/keys`,
		Args: cobra.RangeArgs(1, 2),
		RunE: func(_ *cobra.Command, args []string) error {
			if len(args) == 2 {
				to.file = args[1]
			}
			if err := to.check("new-passphrase-file"); err != nil {
				return err
			}
			text, err := w.readFile(args[0])
			if err != nil {
				return err
			}
			format, err := flowcrypto.Inspect(text)
			if err != nil {
				return err
			}
			key, passphrase, err := w.open(args[0], text, format, passphraseFile)
			if err != nil {
				return err
			}
			_, err = w.write(key, to, passphrase)
			return err
		},
	}
	cmd.Flags().StringVar(&passphraseFile, "passphrase-file", "", "file of the passphrase of FILE; - is standard input")
	to.flags(cmd, "new-passphrase-file")
	return cmd
}
