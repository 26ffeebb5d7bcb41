package caddymodule

import (
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/caddymodule/internal/simulate"
)

func recordCommand() *cobra.Command {
	var o simulate.RecordOptions
	cmd := &cobra.Command{
		Use:   "record SESSION --api URL",
		Short: "Writes a stored session as a script for simulate",
		Long: `Writes a session that the worker has stored as a script that simulate plays.
SESSION is its id, as GET /api/sessions lists it. The script expects the screens
and the end; the data of screens is not stored.

The token comes from API_TOKEN, API_TOKEN_FILE or --api-token-file. The script
holds what the user has entered.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) != 1 {
				return misused(cmd, "expected the id of one SESSION")
			}
			o.Session = args[0]
			ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt, syscall.SIGTERM)
			defer stop()
			return exit(cmd, simulate.Record(ctx, o, world()))
		},
	}
	cmd.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error { return misused(cmd, err.Error()) })
	f := cmd.Flags()
	f.StringVar(&o.API, "api", "", "URL of the worker's API, without /api")
	f.StringVar(&o.TokenFile, "api-token-file", "", "file of a token of the API")
	f.StringVar(&o.CA, "ca", "", "file of one more certificate authority to trust (PEM)")
	f.StringVar(&o.Out, "out", "", "file to write; without it the script is printed")
	return cmd
}
