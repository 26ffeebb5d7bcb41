package caddymodule

import (
	"io"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

// A job that calls a misspelt command must not pass.
func TestAMisspeltSubcommandIsAnError(t *testing.T) {
	for typed, c := range map[string]struct{ err, expected string }{
		"docto":       {`unknown command "docto" for "caddy whatsapp-flows"`, "doctor"},
		"key status":  {`unknown command "key" for "caddy whatsapp-flows"`, "keys"},
		"xyz":         {`unknown command "xyz"`, "simulate"},
		"keys statsu": {`unknown command "statsu" for "caddy whatsapp-flows keys"`, ""},
		"":            {},
		"keys":        {},
	} {
		root, parent := &cobra.Command{Use: "caddy"}, &cobra.Command{Use: "whatsapp-flows"}
		root.AddCommand(parent)
		for _, subcommand := range subcommands {
			parent.AddCommand(subcommand())
		}
		refuseUnknown(parent)
		root.SetArgs(append([]string{"whatsapp-flows"}, strings.Fields(typed)...))
		root.SetOut(io.Discard)
		root.SetErr(io.Discard)
		err := root.Execute()
		switch {
		case c.err == "" && err != nil:
			t.Errorf("%q: %v, expected the help", typed, err)
		case c.err != "" && (err == nil || !strings.Contains(err.Error(), c.err) || !strings.Contains(err.Error(), c.expected)):
			t.Errorf("%q: %v, expected %s and %s", typed, err, c.err, c.expected)
		}
	}
}
