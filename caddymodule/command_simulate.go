package caddymodule

import (
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/caddymodule/internal/simulate"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/setting"
)

func init() {
	subcommands = append(subcommands, simulateCommand, recordCommand)
}

func simulateCommand() *cobra.Command {
	var o simulate.Options
	cmd := &cobra.Command{
		Use:   "simulate FLOW --endpoint URL --public-key FILE",
		Short: "Plays a flow as the phone would, against any endpoint",
		Long: `Plays a flow as the phone would: sealed with the public key, signed with the
app secret, and refusing what WhatsApp's client refuses, under its own error
keys. FLOW is a directory with flow.json, or the file.

Without more it is a phone in the terminal: screens as forms, inputs by line.
With --script it holds the conversations of a file, and with --users it puts a
load on the endpoint.

The app secret comes from META_APP_SECRET, META_APP_SECRET_FILE or
--app-secret-file; the secret that signs flow tokens for users from
FLOW_TOKEN_SECRET, FLOW_TOKEN_SECRET_FILE or --token-secret-file.

Exit codes: 0 everything went as expected, 1 something did not, 2 it could not
begin.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) != 1 {
				return misused(cmd, "expected one FLOW, a directory with flow.json or the file itself")
			}
			o.Flow = args[0]
			ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt, syscall.SIGTERM)
			defer stop()
			return exit(cmd, simulate.Run(ctx, o, world()))
		},
	}
	cmd.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error { return misused(cmd, err.Error()) })
	f := cmd.Flags()
	f.StringVar(&o.Endpoint, "endpoint", "", "URL of the endpoint, as it is set at Meta")
	f.StringVar(&o.PublicKey, "public-key", "", "file of the public key (PEM); read again after a 421")
	f.StringVar(&o.AppSecretFile, "app-secret-file", "", "file of the app secret")
	f.StringVar(&o.TokenSecretFile, "token-secret-file", "", "file of the secret that signs flow tokens")
	f.StringVar(&o.CA, "ca", "", "file of one more certificate authority to trust (PEM)")
	f.DurationVar(&o.Timeout, "timeout", 10*time.Second, "how long the phone waits for an answer")
	f.BoolVar(&o.Report, "report", false, "tell the endpoint of refused answers, as the client does")

	f.StringVar(&o.Script, "script", "", "file of conversations to hold (YAML)")
	f.StringVar(&o.JUnit, "junit", "", "file for a report that CI servers read")
	f.BoolVar(&o.JSON, "json", false, "print the report as JSON")
	f.BoolVar(&o.Quiet, "quiet", false, "print neither payloads nor answers")

	f.StringVar(&o.Token, "token", "", "flow token of the phone in the terminal; without it one is made")
	f.StringVar(&o.UserID, "user", "", "user whom the flow token and the webhook name")
	f.StringVar(&o.UserName, "user-name", "", "name of that user")
	f.StringVar(&o.Screen, "screen", "", "open the flow on this screen, as a message with flow_action navigate does")
	f.StringVar(&o.Data, "data", "", "data that such a message carries (JSON object)")

	f.StringVar(&o.Save, "save", "", "file for what was done in the terminal, as a script")

	f.StringVar(&o.Webhook, "webhook", "", "URL that gets the closing nfm_reply webhooks")
	f.IntVar(&o.WebhookCopies, "webhook-copies", 1, "how often each webhook is sent")
	f.DurationVar(&o.WebhookDelay, "webhook-delay", 0, "how long to wait before each sending")
	f.BoolVar(&o.WebhookShuffle, "webhook-shuffle", false, "send all webhooks at the end, in any order")
	f.StringVar(&o.WABA, "waba", "102290129340398", "WhatsApp Business Account id in webhooks")
	f.StringVar(&o.PhoneNumberID, "phone-number-id", "106540352242922", "phone number id in webhooks")
	f.StringVar(&o.From, "from", "15550100", "the user's phone number in webhooks")

	f.IntVar(&o.Users, "users", 0, "load: how many users at a time")
	f.Float64Var(&o.Rate, "rate", 0, "load: requests a second of all users together; 0 is as many as go")
	f.DurationVar(&o.Duration, "duration", 30*time.Second, "load: how long")
	return cmd
}

// world is the process's own.
func world() simulate.World {
	return simulate.World{
		In: os.Stdin, Out: os.Stdout, Err: os.Stderr, Now: time.Now,
		Env:      setting.Source{LookupEnv: os.LookupEnv, ReadFile: os.ReadFile},
		Terminal: isDevice(os.Stderr) && os.Getenv("TERM") != "dumb", Echo: !isDevice(os.Stdin),
	}
}

// isDevice says whether a person may sit behind a file, which is a pipe or a
// file on a disk otherwise.
func isDevice(f *os.File) bool {
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

// misused ends a command that was given what it does not take.
func misused(cmd *cobra.Command, what string) error {
	fmt.Fprintf(os.Stderr, "%s: %s; %s --help tells more\n", cmd.Name(), what, cmd.CommandPath())
	return exit(cmd, simulate.Misused)
}
