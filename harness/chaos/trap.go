package chaos

import (
	"context"
	"net"
	"net/netip"
	"sync/atomic"
)

// allowed is the one network that callbacks may go to in the row of hostile
// receivers. The rest of the loopback is as forbidden as 10.0.0.0/8 there, and
// "localhost" is a name that leads to it.
var allowed = netip.MustParsePrefix("127.0.0.2/32")

// traps listen where no callback may go: a connection to one of them is a request
// forgery that got through.
type traps struct{ sprung atomic.Int64 }

// set listens on an address until the scene ends and returns its port.
func (t *traps) set(s *Scene, address, port string) (string, error) {
	listener, err := net.Listen("tcp", net.JoinHostPort(address, port))
	if err != nil {
		return "", err
	}
	s.Defer(listener.Close)
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
	_, port, err = net.SplitHostPort(listener.Addr().String())
	return port, err
}

// leadsAstray says whether a name leads to addresses that are not allowed and to
// no other, as one of a rebinding DNS does.
func leadsAstray(ctx context.Context, name string) bool {
	found, err := net.DefaultResolver.LookupHost(ctx, name)
	if err != nil || len(found) == 0 {
		return false
	}
	for _, text := range found {
		if address, err := netip.ParseAddr(text); err != nil || !address.IsLoopback() || allowed.Contains(address) {
			return false
		}
	}
	return true
}
