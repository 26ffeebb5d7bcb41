// Command worker takes what the edge puts on the Redis streams into Postgres,
// delivers callbacks and serves the HTTP API. See `worker --help`.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"slices"
	"strings"
	"syscall"

	"github.com/alecthomas/kong"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/setting"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/worker/internal/settings"
)

// version is set by the build: -ldflags "-X main.version=v1.2.3".
var version = ""

type commands struct {
	Serve      serveCommand     `cmd:"" help:"Read the streams, store answers, deliver callbacks, serve the API."`
	Migrate    migrateCommands  `cmd:"" help:"Bring the database up to date; serve does it too."`
	Flows      flowsCommands    `cmd:"" help:"Load and publish flow definitions."`
	Callbacks  callbackCommands `cmd:"" help:"Manage the receivers of callbacks."`
	Deliveries deliveryCommands `cmd:"" help:"Look at what is delivered to them, send it again, cancel it."`
	Dead       deadCommands     `cmd:"" help:"Look at what could never be stored, and put it back."`
	Meta       metaCommands     `cmd:"" help:"Set up Meta's side: flows, webhooks, messages, numbers, health."`
	Import     importCommands   `cmd:"" help:"Move an installation of another project in."`
	Erase      eraseCommand     `cmd:"" help:"Erase one person's data everywhere, and say what is left."`
	Doctor     doctorCommand    `cmd:"" help:"Look at all that the worker needs, and say what is wrong and how to mend it."`
	Version    versionCommand   `cmd:"" help:"Print the version."`
}

// process is what a command has of the process around it.
type process struct {
	ctx    context.Context // ends at SIGINT or SIGTERM
	source setting.Source
	stdin  io.Reader
	stdout io.Writer
	stderr io.Writer
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(&process{ctx: ctx, source: settings.System(), stdin: os.Stdin, stdout: os.Stdout, stderr: os.Stderr}, os.Args[1:])
	stop()
	os.Exit(code)
}

// run executes one command and returns the exit code. Whatever is wrong comes
// out as one sentence.
func run(p *process, args []string) int {
	var cli commands
	exit := -1
	parser, err := kong.New(&cli, kong.Name("worker"), kong.Writers(p.stdout, p.stderr),
		kong.Description("The back end of caddy-whatsapp-flows: from Redis Streams into Postgres, from there to your systems. "+
			"It is configured by environment variables; the README lists them."),
		kong.UsageOnError(), kong.Exit(func(code int) { exit = code }))
	if err != nil {
		return fail(p.stderr, err)
	}
	command, err := parser.Parse(args)
	if exit >= 0 {
		return exit // --help
	}
	if err == nil {
		err = command.Run(p)
	} else {
		err = fmt.Errorf("%w: see `%s --help`", err, nearest(err))
	}
	if code := exitWith(0); errors.As(err, &code) {
		return int(code)
	}
	if err != nil {
		return fail(p.stderr, err)
	}
	return 0
}

// nearest is as much of a command line that is wrong as was understood.
func nearest(err error) string {
	var wrong *kong.ParseError
	if errors.As(err, &wrong) {
		for _, step := range slices.Backward(wrong.Context.Path) {
			if step.Command != nil {
				return step.Command.FullPath()
			}
		}
	}
	return "worker"
}

// fail writes err as one line.
func fail(w io.Writer, err error) int {
	fmt.Fprintf(w, "worker: %s\n", oneLine(err)) //nolint:errcheck // nowhere else to say it
	// Not ExitCode: kong's errors have one, which is not ours.
	var coded interface{ exitCode() int }
	if errors.As(err, &coded) {
		return coded.exitCode()
	}
	return 1
}

// oneLine folds what libraries wrote over several lines.
func oneLine(err error) string { return strings.Join(strings.Fields(err.Error()), " ") }

// errStopped says that the process was told to stop before it had begun.
var errStopped = errors.New("stopped by a signal")

type versionCommand struct{}

// Run prints the version.
func (versionCommand) Run(p *process) error {
	_, err := fmt.Fprintln(p.stdout, buildVersion())
	return err
}

func buildVersion() string {
	if version != "" {
		return version
	}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" && len(s.Value) >= 12 {
			return "devel " + s.Value[:12]
		}
	}
	return "devel"
}
