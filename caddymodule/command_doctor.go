package caddymodule

import (
	"io"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"

	"github.com/redis/go-redis/v9/logging"
	"github.com/spf13/cobra"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/doctor"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/setting"
)

func init() {
	subcommands = append(subcommands, doctorCommand)
}

func doctorCommand() *cobra.Command {
	d := examination{now: time.Now, env: setting.Source{LookupEnv: os.LookupEnv, ReadFile: os.ReadFile}, stat: os.Stat, admin: askAdmin}
	format := doctor.FormatText
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Looks at all that the edge needs, and says what is wrong and how to mend it",
		Long: `Looks at all that the edge needs, and says of each thing what was seen, what that
means, and what to do: the configuration and its placeholders, secrets and keys and
who may read them, clocks, Redis, TLS, and a whole round trip of Meta's health check
through the public URL, with the firewalls on the way. With META_ACCESS_TOKEN it also
looks at Meta's side: the token, webhooks, the key of each number, each flow.

It reads the configuration as ` + "`caddy validate`" + ` does, without starting it, and needs
no running edge but for the round trip. It never changes anything and never prints a
secret. Exit code: 0 all is well, 1 there are warnings, 2 there are failures.`,
		Example: `  caddy whatsapp-flows doctor
  caddy whatsapp-flows doctor --config /etc/caddy/Caddyfile --url https://flows.example.com --format json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := doctor.CheckFormat(format); err != nil {
				return err
			}
			logging.Disable()
			ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt, syscall.SIGTERM)
			defer stop()
			report, err := d.run(ctx)
			if err != nil {
				return err
			}
			if err := report.Write(cmd.OutOrStdout(), format); err != nil {
				return err
			}
			return exit(cmd, report.ExitCode())
		},
	}
	f := cmd.Flags()
	f.StringVarP(&d.config, "config", "c", "", "configuration file; without it, Caddyfile")
	f.StringVarP(&d.adapter, "adapter", "a", "", "name of its adapter")
	f.StringVar(&d.url, "url", "", "where the site is reached from outside, such as https://flows.example.com, or the whole URL of a flow's endpoint; without it, the site's address in the configuration")
	f.StringVar(&d.flow, "flow", "", "name of the flow whose health check is made; without it, the first that is published")
	f.StringVar(&d.ca, "ca", "", "file of a certificate authority to trust besides the public ones, for a trial")
	f.StringVar(&format, "format", format, "text or json")
	return cmd
}

// askAdmin asks the running edge.
func askAdmin(config, adapter, path string) (io.ReadCloser, error) {
	address, err := caddycmd.DetermineAdminAPIAddress("", nil, config, adapter)
	if err != nil {
		return nil, err
	}
	response, err := caddycmd.AdminAPIRequest(address, http.MethodGet, path, http.Header{"Connection": {"close"}}, nil)
	if err != nil {
		return nil, err
	}
	return response.Body, nil
}
