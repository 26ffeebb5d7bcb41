package load

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/harness/process"
)

// OpenSSLSign is the CPU time of one RSA-2048 private operation of the machine's
// own OpenSSL: the sign column of `openssl speed rsa2048`, measured for a second
// on the CPUs with these numbers, on any when none is given. It takes two to
// seven seconds: openssl measures more than that with the key.
func OpenSSLSign(ctx context.Context, cpus ...int) (time.Duration, error) {
	path, err := exec.LookPath("openssl")
	if err != nil {
		return 0, errors.New("there is no openssl command to compare with: install it (Debian, Ubuntu: sudo apt-get install openssl)")
	}
	var printed strings.Builder
	cmd := exec.Command(path, "speed", "-seconds", "1", "rsa2048")
	cmd.Stdout = &printed
	running, err := process.Start(cmd, cpus...)
	if err != nil {
		return 0, fmt.Errorf("openssl speed: %w", err)
	}
	select {
	case <-running.Done():
	case <-ctx.Done():
		return 0, errors.Join(context.Cause(ctx), running.End(syscall.SIGKILL, 0))
	}
	if err := running.Wait(); err != nil {
		return 0, fmt.Errorf("openssl speed: %w: %s", err, running.Tail())
	}
	return parseSpeed(printed.String())
}

// parseSpeed reads the table that openssl speed ends with, a heading and a line
// such as
//
//	                  sign    verify    sign/s verify/s
//	rsa 2048 bits 0.000282s 0.000016s   3550.5  64042.0
//
// to which OpenSSL 3.2 added columns for encrypting and decrypting. The rate has
// more digits than the time.
func parseSpeed(printed string) (time.Duration, error) {
	column := -1
	for line := range strings.Lines(printed) {
		words := strings.Fields(line)
		if i := slices.Index(words, "sign/s"); i >= 0 {
			column = i
		}
		_, values, found := strings.Cut(line, " 2048 bits ")
		words = strings.Fields(values)
		if !found || !strings.HasPrefix(line, "rsa") || column < 0 || column >= len(words) {
			continue
		}
		perSecond, err := strconv.ParseFloat(words[column], 64)
		if err != nil || !(perSecond >= 1) {
			return 0, fmt.Errorf("openssl speed prints %q as its rsa2048 sign/s, expected a number", words[column])
		}
		return time.Duration(float64(time.Second) / perSecond), nil
	}
	return 0, errors.New("openssl speed printed no line for rsa 2048 bits below a heading with sign/s")
}
