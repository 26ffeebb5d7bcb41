package caddymodule

import (
	"fmt"
	"io"
	"net/http"
	"os"
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
			return term.ReadPassword(fd)
		}
	}
	return w
}
