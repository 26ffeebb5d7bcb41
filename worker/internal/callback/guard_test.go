package callback

import (
	"context"
	"encoding/binary"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"sync/atomic"
	"testing"
	"time"
)

func TestOnlyPublicAddressesAreReached(t *testing.T) {
	for _, c := range []struct {
		addr string
		ok   bool
	}{
		{"8.8.8.8", true},
		{"93.184.216.34", true},
		{"2606:4700::1111", true},
		{"::ffff:8.8.8.8", true},
		{"64:ff9b::808:808", true}, // NAT64 of 8.8.8.8
		{"172.32.0.1", true},
		{"100.128.0.1", true},

		{"127.0.0.1", false},
		{"127.255.255.254", false},
		{"0.0.0.0", false},
		{"0.1.2.3", false},
		{"10.1.2.3", false},
		{"172.16.0.1", false},
		{"172.31.255.255", false},
		{"192.168.1.1", false},
		{"169.254.169.254", false},
		{"100.64.0.1", false},
		{"192.0.0.8", false},
		{"192.0.2.1", false},
		{"192.88.99.1", false},
		{"198.18.0.1", false},
		{"198.51.100.1", false},
		{"203.0.113.1", false},
		{"224.0.0.1", false},
		{"240.0.0.1", false},
		{"255.255.255.255", false},
		{"::", false},
		{"::1", false},
		{"::7f00:1", false},         // IPv4-compatible 127.0.0.1
		{"::ffff:127.0.0.1", false}, // IPv4-mapped
		{"::ffff:169.254.169.254", false},
		{"::ffff:0:7f00:1", false},    // IPv4-translated
		{"64:ff9b::7f00:1", false},    // NAT64 of 127.0.0.1
		{"64:ff9b::a9fe:a9fe", false}, // NAT64 of 169.254.169.254
		{"64:ff9b:1::1", false},
		{"2001::1", false}, // Teredo
		{"2001:db8::1", false},
		{"2002:7f00:1::", false}, // 6to4 of 127.0.0.1
		{"fc00::1", false},
		{"fd00:ec2::254", false},
		{"fe80::1", false},
		{"fe80::1%eth0", false},
		{"fec0::1", false},
		{"ff02::1", false},
		{"100::1", false},
		{"5f00::1", false},
		{"3fff::1", false},
	} {
		err := guard{}.check(netip.MustParseAddr(c.addr))
		if (err == nil) != c.ok {
			t.Errorf("%s: %v, allowed should be %t", c.addr, err, c.ok)
		}
	}
}

func TestNetworksAreAllowedByName(t *testing.T) {
	g := guard{allow: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("fd00::/8")}}
	for addr, ok := range map[string]bool{
		"127.0.0.1": true, "::ffff:127.0.0.1": true, "64:ff9b::7f00:1": true, "fd00::1": true,
		"10.0.0.1": false, "fc00::1": false, "::1": false, "8.8.8.8": true,
	} {
		if err := g.check(netip.MustParseAddr(addr)); (err == nil) != ok {
			t.Errorf("%s: %v, allowed should be %t", addr, err, ok)
		}
	}
}

// Whatever way an IPv4 address is written in IPv6, the answer is the same.
func FuzzGuardSeesThroughIPv6(f *testing.F) {
	for _, s := range []string{"127.0.0.1", "10.0.0.1", "169.254.169.254", "8.8.8.8", "100.64.0.1"} {
		a := netip.MustParseAddr(s).As4()
		f.Add(a[0], a[1], a[2], a[3])
	}
	f.Fuzz(func(t *testing.T, a, b, c, d byte) {
		v4 := netip.AddrFrom4([4]byte{a, b, c, d})
		want := guard{}.check(v4) == nil
		if want && (v4.IsPrivate() || v4.IsLoopback() || v4.IsLinkLocalUnicast() || v4.IsMulticast() || v4.IsUnspecified()) {
			t.Errorf("%s is allowed", v4)
		}
		for _, prefix := range []string{"::ffff:0:0", "64:ff9b::"} {
			b16 := netip.MustParseAddr(prefix).As16()
			copy(b16[12:], []byte{a, b, c, d})
			if got := (guard{}).check(netip.AddrFrom16(b16)) == nil; got != want {
				t.Errorf("%s as %s: allowed %t, want %t", v4, netip.AddrFrom16(b16), got, want)
			}
		}
	})
}

// A name server that answers with a public address first and a private one
// from then on gets nothing out of us: what counts is what is dialled.
func TestANameThatIsReboundIsNotReached(t *testing.T) {
	reached := make(chan struct{}, 1)
	receiver := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { reached <- struct{}{} }))
	defer receiver.Close()
	port := receiver.Listener.Addr().(*net.TCPAddr).Port

	server := newNameServer(t)
	s := NewSender(SenderConfig{MaxInFlight: 1, Resolver: server.resolver()})
	defer s.Close()
	server.answer.Store(new([4]byte{127, 0, 0, 1}))
	result := s.Send(t.Context(), Request{
		ID: "id", URL: (&url.URL{Scheme: "http", Host: net.JoinHostPort("rebound.example", itoa(port))}).String(),
		Secrets: []string{NewSecret()}, Timeout: 5 * time.Second,
	})
	var forbidden *ForbiddenAddressError
	if !errors.As(result.Err, &forbidden) {
		t.Errorf("err = %v, want a forbidden address", result.Err)
	}
	if result.Tries != 1 {
		t.Errorf("tries = %d, want 1: another try would end the same", result.Tries)
	}
	if result.Outcome() != "forbidden_address" {
		t.Errorf("class = %s", result.Outcome())
	}
	select {
	case <-reached:
		t.Error("the receiver was reached")
	default:
	}
}

// nameServer answers every A question with one address, over UDP.
type nameServer struct {
	conn   net.PacketConn
	answer atomic.Pointer[[4]byte]
}

func newNameServer(t *testing.T) *nameServer {
	conn, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &nameServer{conn: conn}
	done := make(chan struct{})
	go func() { defer close(done); s.serve() }()
	t.Cleanup(func() { conn.Close(); <-done }) //nolint:errcheck // the test is over
	return s
}

func (s *nameServer) resolver() *net.Resolver {
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "udp4", s.conn.LocalAddr().String())
	}}
}

func (s *nameServer) serve() {
	buf := make([]byte, 512)
	for {
		n, from, err := s.conn.ReadFrom(buf)
		if err != nil {
			return
		}
		question := 12
		for buf[question] != 0 {
			question += 1 + int(buf[question])
		}
		end := question + 5 // the root label, type, class
		reply := append([]byte(nil), buf[:end]...)
		reply[2], reply[3] = 0x81, 0x80          // a response, recursion available
		binary.BigEndian.PutUint16(reply[6:], 0) // answers
		binary.BigEndian.PutUint32(reply[8:], 0) // authority, additional
		if buf[question+2] == 1 && n >= end {    // type A
			binary.BigEndian.PutUint16(reply[6:], 1)
			a := *s.answer.Load()
			reply = append(reply, 0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4, a[0], a[1], a[2], a[3])
		}
		_, _ = s.conn.WriteTo(reply, from)
	}
}

func TestHostOfTheURLIsCheckedWithoutResolvingIt(t *testing.T) {
	loopback := []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
	for name, c := range map[string]struct {
		host    string
		allow   []netip.Prefix
		refused bool
	}{
		"a private address":              {"127.0.0.1", nil, true},
		"a private address, allowed":     {"127.0.0.1", loopback, false},
		"a public address":               {"1.1.1.1", nil, false},
		"a name, whatever it stands for": {"localhost", nil, false},
		"no callback at all":             {"", nil, false},
	} {
		if err := CheckHost(c.host, c.allow); (err != nil) != c.refused {
			t.Errorf("%s: %v", name, err)
		}
	}
}
