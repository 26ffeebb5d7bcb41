package caddymodule

import (
	"errors"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/spf13/cobra"
)

// subcommands make the commands under `caddy whatsapp-flows`. Each file that has
// one appends it in its init.
var subcommands []func() *cobra.Command

func init() {
	caddycmd.RegisterCommand(caddycmd.Command{
		Name:  "whatsapp-flows",
		Short: "The operator's tools of WhatsApp Flows",
		CobraFunc: func(parent *cobra.Command) {
			// Caddy calls this when it runs, after every init.
			for _, subcommand := range subcommands {
				parent.AddCommand(subcommand())
			}
		},
	})
}

// exit ends a command that has said all there is to say with a code of its own.
func exit(cmd *cobra.Command, code int) error {
	cmd.SilenceErrors = true
	switch code {
	case 0:
		return nil
	case 1:
		return errors.New("something is not as it should be") // Caddy makes 1 of every error
	}
	return caddycmd.WrapCommandFuncForCobra(func(caddycmd.Flags) (int, error) { return code, nil })(cmd, nil)
}
