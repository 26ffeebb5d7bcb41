package callback

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"syscall"
)

// special are the networks no callback goes to unless CALLBACK_ALLOW_CIDRS
// names them: the entries of the IANA special-purpose registries (RFC 6890)
// that are not globally reachable, multicast, and the transition networks
// through which an IPv4 address among them could be reached.
var special = func() []netip.Prefix {
	var all []netip.Prefix
	for _, s := range []string{
		"0.0.0.0/8",       // this network
		"10.0.0.0/8",      // private
		"100.64.0.0/10",   // carrier-grade NAT
		"127.0.0.0/8",     // loopback
		"169.254.0.0/16",  // link-local: cloud metadata services
		"172.16.0.0/12",   // private
		"192.0.0.0/24",    // IETF protocol assignments
		"192.0.2.0/24",    // documentation
		"192.31.196.0/24", // AS112
		"192.52.193.0/24", // AMT
		"192.88.99.0/24",  // 6to4 relay anycast
		"192.168.0.0/16",  // private
		"192.175.48.0/24", // AS112
		"198.18.0.0/15",   // benchmarks
		"198.51.100.0/24", // documentation
		"203.0.113.0/24",  // documentation
		"224.0.0.0/4",     // multicast
		"240.0.0.0/4",     // reserved, broadcast

		"::/96",           // unspecified, loopback, IPv4-compatible
		"::ffff:0:0:0/96", // IPv4-translated (RFC 2765)
		"64:ff9b:1::/48",  // local NAT64
		"100::/64",        // discard
		"2001::/23",       // IETF protocol assignments: Teredo, ORCHID, benchmarks
		"2001:db8::/32",   // documentation
		"2002::/16",       // 6to4
		"3fff::/20",       // documentation
		"5f00::/16",       // segment routing
		"fc00::/7",        // unique local: fd00:ec2::254
		"fe80::/10",       // link-local
		"fec0::/10",       // site-local, deprecated
		"ff00::/8",        // multicast
	} {
		all = append(all, netip.MustParsePrefix(s))
	}
	return all
}()

// nat64 is the well-known prefix of RFC 6052: its last 32 bits are the IPv4
// address that is really reached.
var nat64 = netip.MustParsePrefix("64:ff9b::/96")

// ForbiddenAddressError says that a callback would have gone to an address
// that is not public.
type ForbiddenAddressError struct{ Addr netip.Addr }

func (e *ForbiddenAddressError) Error() string {
	return fmt.Sprintf("the callback's host is at %s, which is not a public address: name its network in CALLBACK_ALLOW_CIDRS if it is meant", e.Addr)
}

// guard decides which addresses may be connected to.
type guard struct{ allow []netip.Prefix }

// check is nil for a public address and for one in an allowed network.
func (g guard) check(addr netip.Addr) error {
	seen := addr
	addr = addr.Unmap().WithZone("")
	if nat64.Contains(addr) {
		b := addr.As16()
		addr = netip.AddrFrom4([4]byte(b[12:]))
	}
	for _, p := range g.allow {
		if p.Contains(addr) {
			return nil
		}
	}
	if !addr.IsValid() {
		return &ForbiddenAddressError{seen}
	}
	for _, p := range special {
		if p.Contains(addr) {
			return &ForbiddenAddressError{seen}
		}
	}
	return nil
}

// CheckHost is a *ForbiddenAddressError for a host that is an address no callback
// may go to. What a name resolves to is checked at each connection.
func CheckHost(host string, allow []netip.Prefix) error {
	addr, err := netip.ParseAddr(host)
	if err != nil {
		return nil // a name
	}
	return guard{allow}.check(addr)
}

// control runs for each connection after the name is resolved and before the
// first packet, so that neither a redirect nor a name that resolves
// differently the second time gets around it. It fails closed.
func (g guard) control(_ context.Context, network, address string, _ syscall.RawConn) error {
	if network != "tcp4" && network != "tcp6" {
		return fmt.Errorf("callbacks go over TCP, not %s", network)
	}
	ap, err := netip.ParseAddrPort(address)
	if err != nil {
		return errors.New("the address to connect to is not an IP address and a port")
	}
	return g.check(ap.Addr())
}
