package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// checkOut builds a revision of the repository in a directory of its own with
// its own Makefile. remove takes both away.
func checkOut(ctx context.Context, root, revision string) (b build, remove func() error, err error) {
	dir, err := os.MkdirTemp("", "waf-base-")
	if err != nil {
		return b, nil, err
	}
	tree := filepath.Join(dir, "tree")
	remove = func() error {
		_, err := run(context.WithoutCancel(ctx), root, "git", "worktree", "remove", "--force", tree)
		return errors.Join(err, os.RemoveAll(dir))
	}
	if _, err := run(ctx, root, "git", "worktree", "add", "--detach", tree, revision); err != nil {
		return b, nil, errors.Join(err, os.RemoveAll(dir))
	}
	commit, err := run(ctx, tree, "git", "rev-parse", "--short", "HEAD")
	if err == nil {
		b = build{root: tree, bin: filepath.Join(dir, "bin"), commit: commit}
		_, err = run(ctx, tree, "make", "--no-print-directory", "build", "BIN="+b.bin, "VERSION="+commit)
	}
	if err != nil {
		return b, nil, errors.Join(err, remove())
	}
	return b, remove, nil
}

// run is what a command prints. Its error has what it said of why it failed.
func run(ctx context.Context, dir, name string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	said := strings.TrimSpace(string(out))
	if err != nil {
		return "", fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, said)
	}
	return said, nil
}

// ratio compares one line of two edges, run by run.
func ratio(of, by Line) Ratio {
	each := func(figure func(Figures) float64) Spread {
		values := make([]float64, len(of.Runs))
		for i := range values {
			values[i] = quotient(figure(of.Runs[i]), figure(by.Runs[i]))
		}
		return spread(values)
	}
	return Ratio{
		Name: of.Name, Connections: of.Connections, Fsync: of.Fsync,
		CPU:       each(func(f Figures) float64 { return f.CPU }),
		PerSecond: each(func(f Figures) float64 { return f.PerSecond }),
		P99:       each(func(f Figures) float64 { return f.P99 }),
		RedisCPU:  each(func(f Figures) float64 { return f.RedisCPU }),
	}
}
