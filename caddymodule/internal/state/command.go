package state

import (
	"context"
	"crypto/sha1"
	"encoding/hex"
	"errors"
	"fmt"
	"net"

	"github.com/redis/go-redis/v9"
)

// command is one command to Redis on its way. All that this package sends in
// batches is answered with one string that is not empty.
type command struct {
	ctx   context.Context
	args  []any
	size  int  // bytes of the arguments that may be large
	write bool // wait for replicas, when so configured

	node  redis.UniversalClient // where to
	cmd   *redis.StringCmd
	reply []byte
	err   error // of the command, or of the way

	alone [1]*command     // the batch of a command that goes alone
	turn  chan []*command // a batch to lead, or nil once c is resolved
}

// script is a Lua script, sent by its hash.
type script struct{ source, hash string }

func newScript(source string) *script {
	sum := sha1.Sum([]byte(source))
	return &script{source: source, hash: hex.EncodeToString(sum[:])}
}

// call is the command that runs s. args hold keys keys and then the values,
// after three places that call fills in.
func (s *script) call(ctx context.Context, keys int, args []any) *command {
	args[0], args[1], args[2] = "evalsha", s.hash, keys
	return &command{ctx: ctx, args: args}
}

// resolve reads what became of a command that was sent. way is the error of the
// whole exchange. An answer counts even when the connection broke after it.
func (c *command) resolve(way error) {
	if c.reply, c.err = c.cmd.Bytes(); len(c.reply) > 0 {
		c.err = nil
		return
	}
	c.reply = nil
	if c.err == nil {
		c.err = way
	}
	if c.err == nil {
		c.err = errors.New("redis answered with an empty string, expected an id or a verdict")
	}
}

// errNoAnswer is what a command has before it is resolved.
var errNoAnswer = errors.New("the command was not answered")

// notSentError is why a command was not sent, such as the end of its context.
type notSentError struct{ cause error }

func (e *notSentError) Error() string { return fmt.Sprintf("not sent to redis: %v", e.cause) }
func (e *notSentError) Unwrap() error { return e.cause }

// certainlyNotWritten says that a failed command had no effect: Redis refused
// it, or was never reached.
func certainlyNotWritten(err error) bool {
	var refused redis.Error
	if errors.As(err, &refused) && refused != redis.Nil {
		return true
	}
	var kept *notSentError
	var op *net.OpError
	return errors.As(err, &kept) || errors.Is(err, redis.ErrPoolTimeout) || errors.As(err, &op) && op.Op == "dial"
}
