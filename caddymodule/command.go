package caddymodule

import (
	"errors"
	"fmt"
	"strings"

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
			refuseUnknown(parent)
		},
	})
}

// refuseUnknown makes an error of a misspelt subcommand, which cobra would answer
// with its help and success.
func refuseUnknown(cmd *cobra.Command) {
	if !cmd.HasSubCommands() {
		return
	}
	if !cmd.Runnable() {
		cmd.RunE = func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return cmd.Help()
			}
			return fmt.Errorf("unknown command %q for %q%s", args[0], cmd.CommandPath(), suggestions(cmd, args[0]))
		}
	}
	for _, sub := range cmd.Commands() {
		refuseUnknown(sub)
	}
}

func suggestions(cmd *cobra.Command, typed string) string {
	if cmd.SuggestionsMinimumDistance <= 0 {
		cmd.SuggestionsMinimumDistance = 2
	}
	var names []string
	for _, sub := range cmd.Commands() {
		names = append(names, sub.Name())
	}
	if near := cmd.SuggestionsFor(typed); len(near) > 0 {
		names = near
	}
	return ", expected " + strings.Join(names, ", ")
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
