package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/harness/demo"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/harness/site"
)

func runDemo(ctx context.Context) error {
	place, err := repository()
	if err != nil {
		return err
	}
	return demo.Play(ctx, place, os.Stdout)
}

func runStack(ctx context.Context) error {
	place, err := repository()
	if err != nil {
		return err
	}
	return demo.Run(ctx, place, os.Stdout)
}

// secrets writes a set of throw-away secrets into a directory.
func secrets(args []string) error {
	if len(args) != 1 {
		fmt.Fprint(os.Stderr, usage)
		return exitError(2)
	}
	written, err := site.WriteSecrets(args[0])
	if err != nil {
		return err
	}
	fmt.Println("Throw-away secrets are in", written.Dir)
	return nil
}

// repository is the working directory or one above it; the binaries are in its
// bin, or in the directory that BIN names, as in the Makefile.
func repository() (demo.Place, error) {
	dir, err := os.Getwd()
	if err != nil {
		return demo.Place{}, err
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.work")); err == nil {
			break
		}
		if dir == filepath.Dir(dir) {
			return demo.Place{}, errors.New("this is not inside the repository of caddy-whatsapp-flows: go there first")
		}
		dir = filepath.Dir(dir)
	}
	bin := cmp.Or(os.Getenv("BIN"), "bin")
	if !filepath.IsAbs(bin) {
		bin = filepath.Join(dir, bin)
	}
	return demo.Place{Root: dir, Bin: bin}, nil
}
