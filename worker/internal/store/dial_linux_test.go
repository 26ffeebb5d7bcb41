package store_test

import (
	"net"
	"syscall"
	"testing"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/worker/internal/testkit"
)

// A peer that vanished is noticed by the kernel within 15 seconds, on our side
// and, so that a dead worker's locks are freed, soon on the server's.
func TestSilenceIsLimited(t *testing.T) {
	t.Parallel()
	pool := testkit.Pool(t, testkit.EmptyDatabaseURL(t))
	conn, err := pool.Acquire(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Release()
	tcp, ok := conn.Conn().PgConn().Conn().(*net.TCPConn)
	if !ok {
		t.Fatalf("the connection is a %T", conn.Conn().PgConn().Conn())
	}
	raw, err := tcp.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	const userTimeout = 0x12
	for name, c := range map[string]struct{ option, want int }{
		"milliseconds without an acknowledgement": {userTimeout, 10_000},
		"seconds of silence before a probe":       {syscall.TCP_KEEPIDLE, 5},
		"seconds between probes":                  {syscall.TCP_KEEPINTVL, 3},
		"probes":                                  {syscall.TCP_KEEPCNT, 3},
	} {
		var got int
		var errOption error
		if err := raw.Control(func(fd uintptr) { got, errOption = syscall.GetsockoptInt(int(fd), syscall.IPPROTO_TCP, c.option) }); err != nil || errOption != nil {
			t.Fatal(err, errOption)
		}
		if got != c.want {
			t.Errorf("%s = %d, want %d", name, got, c.want)
		}
	}
	for name, want := range map[string]string{"tcp_user_timeout": "20000", "tcp_keepalives_idle": "10", "tcp_keepalives_interval": "5", "tcp_keepalives_count": "3", "idle_in_transaction_session_timeout": "10s"} {
		var got string
		if err := conn.QueryRow(t.Context(), "SELECT current_setting($1)", name).Scan(&got); err != nil || got != want {
			t.Errorf("%s of the session = %q (%v), want %q", name, got, err, want)
		}
	}
}
