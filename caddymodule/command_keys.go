package caddymodule

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/caddymodule/internal/keyscommand"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/setting"
)

func init() {
	subcommands = append(subcommands, func() *cobra.Command { return keyscommand.New(keysWorld()) })
}

func keysWorld() keyscommand.World {
	w := keyscommand.World{
		In: os.Stdin, Out: os.Stdout, Err: os.Stderr, Now: time.Now,
		Env:  setting.Source{LookupEnv: os.LookupEnv, ReadFile: os.ReadFile},
		HTTP: http.DefaultClient,
		Admin: func(address, method, path string) (io.ReadCloser, error) {
			// The connection is not kept: Caddy makes a client for each call.
			response, err := caddycmd.AdminAPIRequest(address, method, path, http.Header{"Connection": {"close"}}, nil)
			if err != nil {
				return nil, err
			}
			return response.Body, nil
		},
		AdminAddress: func(configFile, adapter string) (string, error) {
			return caddycmd.DetermineAdminAPIAddress("", nil, configFile, adapter)
		},
	}
	if fd := int(os.Stdin.Fd()); term.IsTerminal(fd) {
		w.Prompt = func(question string) ([]byte, error) {
			fmt.Fprint(os.Stderr, question)
			defer fmt.Fprintln(os.Stderr)
			return readHidden(fd)
		}
	}
	return w
}

// readHidden reads a line that the terminal does not show. An interrupt ends it and
// leaves the terminal as it was: by itself it would go on hiding what is typed.
func readHidden(fd int) ([]byte, error) {
	shown, err := term.GetState(fd)
	if err != nil {
		return nil, err
	}
	interrupted, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	type line struct {
		text []byte
		err  error
	}
	typed := make(chan line, 1)
	go func() { // ends with the process, if nobody types on
		text, err := term.ReadPassword(fd)
		typed <- line{text, err}
	}()
	select {
	case l := <-typed:
		return l.text, l.err
	case <-interrupted.Done():
		return nil, errors.Join(errors.New("interrupted"), term.Restore(fd, shown))
	}
}
