package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"syscall"
	"time"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/harness/gotest"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/harness/process"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/harness/servers"
)

// execute runs a command with the servers in its environment; its exit status
// becomes this process's.
func execute(ctx context.Context, stack *servers.Stack, args []string) error {
	return runGroup(ctx, stack, args, os.Stdout)
}

// test runs go test over every module of the workspace, or with the arguments
// given, and fails also when a test was skipped.
func test(ctx context.Context, stack *servers.Stack, args []string) error {
	commands, err := gotest.Commands(ctx, os.Stderr, os.Getenv("RSA"), args)
	if err != nil {
		return err
	}
	report := gotest.NewReport(os.Stdout)
	read, write := io.Pipe()
	done := make(chan error, 1)
	go func() { done <- report.Read(read) }()
	var errRun error
	for _, command := range commands {
		errRun = errors.Join(errRun, runGroup(ctx, stack, command, write))
	}
	write.Close()
	if err := <-done; err != nil {
		return err
	}
	return errors.Join(errRun, report.Close())
}

// libcrypto makes sure that the fast private key can be built: it installs what
// is missing where it can.
func libcrypto(ctx context.Context) error {
	err := gotest.Libcrypto(ctx)
	if err != nil && servers.CanInstall() {
		if err := servers.Install(ctx, gotest.LibcryptoPackages, os.Stderr); err != nil {
			return err
		}
		err = gotest.Libcrypto(ctx)
	}
	return err
}

// runGroup runs a command in a process group of its own, so that whatever it
// leaves behind ends with it.
func runGroup(ctx context.Context, stack *servers.Stack, args []string, stdout io.Writer) error {
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Stdout, cmd.Stderr = stdout, os.Stderr
	cmd.Env = append(os.Environ(), stack.Env()...)
	running, err := process.Start(cmd)
	if err != nil {
		return err
	}
	defer running.Kill() // what it left in the background
	select {
	case <-running.Done():
	case <-ctx.Done():
		// Asked first, so that it can end what it started; killed if it does not.
		_ = running.Signal(syscall.SIGTERM)
		_ = running.End(syscall.SIGTERM, 15*time.Second)
		return fmt.Errorf("%s: stopped: %w", args[0], context.Cause(ctx))
	}
	var exit *exec.ExitError
	if err := running.Wait(); errors.As(err, &exit) {
		return exitError(max(1, exit.ExitCode()))
	} else {
		return err
	}
}
