package load

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"
)

// connection carries one request at a time. It is used by one goroutine.
type connection struct {
	address string
	conn    net.Conn // nil when the next request needs a new one
	reader  answerReader
	unwatch func() bool
}

// dial connects. The end of ctx ends what the connection waits for.
func (c *connection) dial(ctx context.Context) error {
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, "tcp", c.address)
	if err != nil {
		return err
	}
	c.conn = conn
	c.reader.from, c.reader.start, c.reader.end = conn, 0, 0
	c.unwatch = context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	return nil
}

func (c *connection) close() {
	if c.conn != nil {
		c.unwatch()
		_ = c.conn.Close()
		c.conn = nil
	}
}

// exchange sends one request and reads the answer, whose body is valid until the
// next exchange. A connection that broke, or that the server said it closes, is
// replaced before the next request: only this one fails.
func (c *connection) exchange(ctx context.Context, request []byte) (status int, body []byte, err error) {
	if c.conn == nil {
		if err := c.dial(ctx); err != nil {
			return 0, nil, c.reason(ctx, err)
		}
	}
	if _, err := c.conn.Write(request); err != nil {
		c.close()
		return 0, nil, c.reason(ctx, fmt.Errorf("sending: %w", err))
	}
	status, body, closing, err := c.reader.read()
	if closing || err != nil {
		c.close()
	}
	return status, body, c.reason(ctx, err)
}

// reason is why the run was ended, if it was, else err.
func (c *connection) reason(ctx context.Context, err error) error {
	if err != nil && ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

// connect opens so many connections.
func connect(ctx context.Context, address string, calls []Call, connections int) ([]*connection, error) {
	if connections < 1 || len(calls) == 0 {
		return nil, fmt.Errorf("%d calls over %d connections, expected at least one of each", len(calls), connections)
	}
	all := make([]*connection, connections)
	for i := range all {
		all[i] = &connection{address: address}
		if err := all[i].dial(ctx); err != nil {
			disconnect(all[:i])
			return nil, fmt.Errorf("opening connection %d of %d: %w", i+1, connections, err)
		}
	}
	return all, nil
}

func disconnect(all []*connection) {
	for _, c := range all {
		c.close()
	}
}

// errNotSent is the error of the calls that were left when a run was ended.
var errNotSent = errors.New("not sent: the run was ended before")
