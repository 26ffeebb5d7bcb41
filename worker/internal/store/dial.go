package store

import (
	"context"
	"net"
	"strings"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
)

// A peer that vanished without a word, as behind a firewall that forgot the
// connection or on a host that lost its power, is noticed by the kernel within
// these times: at once is impossible, and Linux' own are a quarter of an hour
// while something was sent, and two hours while not.
const (
	// unanswered is how long sent bytes may go without an acknowledgement.
	unanswered = 10 * time.Second

	// pingWithin is how long a pooled connection that was idle may take to answer
	// before another one is taken.
	pingWithin = 5 * time.Second
)

// keepAlive finds out about connections on which nothing is sent, or on which an
// answer is waited for.
var keepAlive = net.KeepAliveConfig{Enable: true, Idle: 5 * time.Second, Interval: 3 * time.Second, Count: 3}

// serverSide are the same for the other end: a session whose worker vanished
// holds its locks, the worker's name among them, until the server notices.
var serverSide = map[string]string{
	"tcp_keepalives_idle":     "10",
	"tcp_keepalives_interval": "5",
	"tcp_keepalives_count":    "3",
	"tcp_user_timeout":        "20000",
}

// dial connects as pgx does, with limits on silence.
func dial() pgconn.DialFunc {
	over := &net.Dialer{KeepAliveConfig: keepAlive, Control: limitSilence}
	local := &net.Dialer{}
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		if strings.HasPrefix(network, "unix") {
			return local.DialContext(ctx, network, addr)
		}
		return over.DialContext(ctx, network, addr)
	}
}

// pingFirst pings a connection that was idle before it is used. When it does not
// answer in time the others, which were idle as long, will not either: they are
// all given up, or each would be waited for in turn.
func pingFirst(pool *atomic.Pointer[pgxpool.Pool]) func(context.Context, pgxpool.ShouldPingParams) bool {
	return func(ctx context.Context, p pgxpool.ShouldPingParams) bool {
		if p.IdleDuration <= time.Second {
			return false
		}
		ping, cancel := context.WithTimeout(ctx, pingWithin)
		defer cancel()
		if p.Conn.Ping(ping) == nil {
			return false
		}
		if ping.Err() != nil && ctx.Err() == nil {
			if opened := pool.Load(); opened != nil {
				opened.Reset()
			}
		}
		return true // the connection is closed, which the pool's own ping tells it at once
	}
}
