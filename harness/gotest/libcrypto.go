package gotest

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
)

const libcryptoPackage = "github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/flowcrypto/libcrypto"

// LibcryptoPackages are Debian's packages that a build with libcrypto needs.
var LibcryptoPackages = []string{"gcc", "libc6-dev", "libssl-dev"}

// Libcrypto builds the package of that name. Its error says why the private key
// of libcrypto cannot be built on this machine.
func Libcrypto(ctx context.Context) error {
	cmd := exec.CommandContext(ctx, "go", "build", "-tags=libcrypto", libcryptoPackage)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=1")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("libcrypto cannot be built: it needs a C compiler and the headers of OpenSSL 3.0 or newer (Debian, Ubuntu: sudo apt-get install %s): %w\n%s",
			strings.Join(LibcryptoPackages, " "), err, strings.TrimSpace(string(out)))
	}
	return nil
}

// Commands of a whole run of the tests, one after the other. rsa is that of make
// build: "libcrypto" fails where it cannot be built, "go" does without it, and
// anything else takes it where it can be built. Where it is, the packages of the
// keys are tested once more without, and libcrypto itself with its other way to call
// C.
func Commands(ctx context.Context, say io.Writer, rsa string, given []string) ([][]string, error) {
	arguments := Arguments(ctx, say, given)
	run := append([]string{"go", "test", "-json"}, arguments...)
	if rsa == "go" || slices.ContainsFunc(given, func(arg string) bool { return strings.HasPrefix(arg, "-tags") }) {
		return [][]string{run}, nil
	}
	if err := Libcrypto(ctx); err != nil {
		if rsa == "libcrypto" || ctx.Err() != nil {
			return nil, err
		}
		fmt.Fprintf(say, "Only the keys of crypto/rsa are tested: %s\n", err)
		return [][]string{run}, nil
	}
	run = slices.Insert(run, 3, "-tags=libcrypto")
	if len(given) > 0 {
		return [][]string{run}, nil
	}
	return [][]string{
		run,
		{"go", "test", "-json", "-shuffle=on", "-tags=libcrypto,cgocall", "./shared/flowcrypto/libcrypto"},
		{"env", "CGO_ENABLED=0", "go", "test", "-json", "-shuffle=on", "./shared/flowcrypto/..."},
	}, nil
}
