// Package gotest runs go test for the whole workspace and judges its result:
// unlike go test itself it takes a skipped test for a failure.
package gotest

import (
	"context"
	"fmt"
	"io"
	"os/exec"
	"strings"
)

// Modules are the patterns of every module of the workspace. (The pattern ./...
// means one module only.)
var Modules = []string{"./shared/...", "./migrations/...", "./caddymodule/...", "./worker/...", "./harness/..."}

// Arguments of go test: those given, or every package in random order. The race
// detector is on where there is a C compiler, which it needs.
func Arguments(ctx context.Context, say io.Writer, given []string) []string {
	args := []string{"-shuffle=on", "-timeout=15m"}
	if compiler := missingCompiler(ctx); compiler == "" {
		args = append(args, "-race")
	} else {
		fmt.Fprintf(say, "The race detector is off: it needs a C compiler, and %s is not here (Debian, Ubuntu: sudo apt-get install gcc libc6-dev).\n", compiler)
	}
	for _, arg := range given {
		if !strings.HasPrefix(arg, "-") {
			return append(args, given...)
		}
	}
	return append(append(args, given...), Modules...)
}

// missingCompiler is the name of Go's C compiler if it is missing, else empty.
func missingCompiler(ctx context.Context) string {
	out, err := exec.CommandContext(ctx, "go", "env", "CC").Output()
	if err != nil {
		return ""
	}
	name, _, _ := strings.Cut(strings.TrimSpace(string(out)), " ")
	if _, err := exec.LookPath(name); err != nil {
		return name
	}
	return ""
}
