// Package keyscommand is `caddy whatsapp-flows keys`: what an operator does with
// the private keys of the flow endpoint, from the first to the last day of one.
//
// It shows nothing secret, ever; it writes no file over another; and what it
// takes out of use it moves aside.
package keyscommand

import (
	"context"
	"crypto/rsa"
	"io"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/flowcrypto"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/setting"
)

// World is what the commands touch.
type World struct {
	In       io.Reader
	Out, Err io.Writer
	Now      func() time.Time
	Env      setting.Source

	// Prompt asks for a passphrase without showing it; nil when there is no
	// terminal.
	Prompt func(question string) ([]byte, error)

	// Admin calls Caddy's admin API. An answer of 400 and more is an error.
	Admin func(address, method, path string) (io.ReadCloser, error)
	// AdminAddress is the one to ask: of a flag, else of a configuration file,
	// else Caddy's own default.
	AdminAddress func(configFile, adapter string) (string, error)

	HTTP *http.Client // to the Graph API

	// Encrypt writes a private key; nil is flowcrypto.EncryptPrivateKey, which
	// takes its time on purpose.
	Encrypt func(key *rsa.PrivateKey, passphrase []byte) ([]byte, error)
}

// New makes the command.
func New(w World) *cobra.Command {
	if w.Encrypt == nil {
		w.Encrypt = flowcrypto.EncryptPrivateKey
	}
	keys := &cobra.Command{
		Use:   "keys",
		Short: "Makes, shows, converts, registers and rotates the private keys of flows",
		Long: `WhatsApp encrypts what users fill in with the public half of an RSA key of 2048
bits, which is registered for each phone number. These commands look after that
key: create it, register its public half, change it without losing a
conversation, and tell what a running edge uses each key for.`,
		Args: cobra.NoArgs,
		Run:  func(cmd *cobra.Command, _ []string) { _ = cmd.Help() },
	}
	keys.AddCommand(w.create(), w.show(), w.convert(), w.reload(), w.status(), w.register(), w.rotate())
	return keys
}

// interruptible gives a command a context that Ctrl-C ends.
func interruptible(run func(ctx context.Context, args []string) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt, syscall.SIGTERM)
		defer stop()
		return run(ctx, args)
	}
}
