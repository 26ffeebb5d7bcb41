package caddymodule

import (
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
