package chaos

import (
	"context"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync/atomic"
)

// traps listen where no callback may go: a connection to one of them is a request
// forgery that got through.
type traps struct {
	scene  *Scene
	sprung atomic.Int64
}

// at listens on an address and returns the host and port to aim at.
func (t *traps) at(address, port string) (string, error) {
	listener, err := net.Listen("tcp", net.JoinHostPort(address, port))
	if err != nil {
		return "", err
	}
	t.scene.Defer(listener.Close)
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			t.sprung.Add(1)
			conn.Close()
		}
	}()
	return listener.Addr().String(), nil
}

// name listens where a name of this machine's hosts leads to that is not allowed,
// as a rebinding DNS would have it, and returns that name with its port; empty
// without one.
func (t *traps) name(ctx context.Context) (string, error) {
	host, _ := os.Hostname() // one more candidate
names:
	for _, name := range []string{"ip6-localhost", "ip6-loopback", host} {
		found, err := net.DefaultResolver.LookupHost(ctx, name)
		if err != nil || len(found) == 0 {
			continue
		}
		for _, address := range found {
			if a, err := netip.ParseAddr(address); err != nil || !a.IsLoopback() || a == allowed.Addr() {
				continue names
			}
		}
		at, err := t.at(found[0], "0")
		if err != nil {
			continue
		}
		_, port, err := net.SplitHostPort(at)
		if err != nil {
			return "", err
		}
		for _, address := range found[1:] {
			if _, err := t.at(address, port); err != nil && address != found[0] {
				return "", err
			}
		}
		return net.JoinHostPort(strings.TrimSuffix(name, "."), port), nil
	}
	return "", nil
}

// allowed is the one network that callbacks may go to in the row of hostile
// receivers: the rest of the loopback is as forbidden as 10.0.0.0/8.
var allowed = netip.MustParsePrefix("127.0.0.1/32")
