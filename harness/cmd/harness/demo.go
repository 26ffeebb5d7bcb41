package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/harness/demo"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/harness/site"
)

func runDemo(ctx context.Context) error {
	root, err := repository()
	if err != nil {
		return err
	}
	return demo.Play(ctx, root, os.Stdout)
}

func runStack(ctx context.Context) error {
	root, err := repository()
	if err != nil {
		return err
	}
	return demo.Run(ctx, root, os.Stdout)
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

// repository is the root of the repository: the working directory or one above.
func repository() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.work")); err == nil {
			return dir, nil
		}
		if dir == filepath.Dir(dir) {
			return "", errors.New("this is not inside the repository of caddy-whatsapp-flows: go there first")
		}
		dir = filepath.Dir(dir)
	}
}
