// Command harness sets the project up on one machine: the servers it needs, its
// binaries, and what is to run on them.
//
//	harness demo              play one conversation from end to end and stop
//	harness run               the same stack, left running until Ctrl-C
//	harness exec -- command   run a command with DATABASE_URL and REDIS_URL set
//	harness test [args]       go test of every module, with servers
//	harness libcrypto         what a build with libcrypto needs: found or installed
//	harness play directory    the recorded conversations of flows, in process
//	harness secrets directory throw-away secrets, as docker-compose.yml wants them
//
// Run it from the repository's root: go run ./harness/cmd/harness demo.
// Whatever it started is stopped when it ends, also on Ctrl-C, on SIGTERM, and
// when the process that started it dies.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/harness/servers"
)

const usage = `usage: harness <command>

  demo               play one WhatsApp Flow conversation from end to end, then stop
  run                the same stack, left running until Ctrl-C
  exec -- command    run a command with DATABASE_URL and REDIS_URL set to servers
                     that live as long as it does
  test [arguments]   go test of every module, with such servers; arguments go to
                     go test (default: every package)
  libcrypto          see that a C compiler and the headers of OpenSSL are here,
                     which the fast private key needs; on Debian, as root,
                     install them
  play directory     hold the recorded conversations of a flow's folder, or of each
                     flow in a folder of flows, against the engine in this
                     process, and print each step
  secrets directory  write throw-away secrets, as docker-compose.yml wants them
`

// exitError ends the process with a status and nothing more to say.
type exitError int

func (e exitError) Error() string { return fmt.Sprintf("exit status %d", int(e)) }

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	ctx, cancel := context.WithCancelCause(ctx)
	go watchParent(ctx, cancel)

	err := dispatch(ctx, os.Args[1:])
	var status exitError
	switch {
	case err == nil:
	case ctx.Err() != nil:
		// Whatever failed, it failed because it was interrupted.
		fmt.Fprintln(os.Stderr, "harness: stopped:", context.Cause(ctx))
		os.Exit(130)
	case errors.As(err, &status):
		os.Exit(int(status))
	default:
		fmt.Fprintln(os.Stderr, "harness:", err)
		os.Exit(1)
	}
}

func dispatch(ctx context.Context, args []string) error {
	if len(args) == 0 {
		fmt.Fprint(os.Stderr, usage)
		return exitError(2)
	}
	switch args[0] {
	case "demo":
		return runDemo(ctx)
	case "run":
		return runStack(ctx)
	case "exec":
		rest := args[1:]
		if len(rest) > 0 && rest[0] == "--" {
			rest = rest[1:]
		}
		if len(rest) == 0 {
			fmt.Fprint(os.Stderr, usage)
			return exitError(2)
		}
		return withServers(ctx, servers.Options{}, func(stack *servers.Stack) error { return execute(ctx, stack, rest) })
	case "test":
		return withServers(ctx, servers.Options{}, func(stack *servers.Stack) error { return test(ctx, stack, args[1:]) })
	case "libcrypto":
		return libcrypto(ctx)
	case "play":
		return playConversations(ctx, args[1:])
	case "secrets":
		return secrets(args[1:])
	case "help", "-h", "--help":
		fmt.Print(usage)
		return nil
	default:
		fmt.Fprint(os.Stderr, usage)
		return exitError(2)
	}
}

// withServers runs do while the servers are up.
func withServers(ctx context.Context, o servers.Options, do func(*servers.Stack) error) (err error) {
	stack, err := servers.Start(ctx, o)
	if err != nil {
		return err
	}
	defer func() {
		if errClose := stack.Close(); errClose != nil {
			err = errors.Join(err, fmt.Errorf("stopping the servers: %w", errClose))
		}
	}()
	return do(stack)
}

// watchParent cancels when the process that started this one is gone: `go run`
// does not pass SIGTERM on, and a killed `make` cannot.
func watchParent(ctx context.Context, cancel context.CancelCauseFunc) {
	parent := os.Getppid()
	tick := time.NewTicker(300 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			if os.Getppid() != parent {
				cancel(errors.New("the process that started this one is gone"))
				return
			}
		}
	}
}
