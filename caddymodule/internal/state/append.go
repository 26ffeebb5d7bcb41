package state

import (
	"context"
	"errors"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/event"
)

// Append appends an entry that belongs to no session to the streams of shard.
// A nil error means that Redis has it, under its own fsync policy, and that as
// many replicas as Options.Wait asks for have it too.
func (s *Store) Append(ctx context.Context, shard int, e event.Entry) error {
	seq := s.sequences[shard]
	e.Source = s.source
	e.Seq, e.Void = seq.take()
	err := s.xadd(ctx, s.keys.EventsFor(shard, len(e.Body)), e)
	settle(seq, e, err)
	return err
}

func (s *Store) xadd(ctx context.Context, stream string, e event.Entry) error {
	c := &command{ctx: ctx, args: append(append(make([]any, 0, 24), "xadd", stream, "*"), e.Values()...), size: len(e.Body), write: true}
	s.do(c, stream)
	return c.err
}

// settle tells the sequence what became of an entry.
func settle(seq *sequence, e event.Entry, err error) {
	switch {
	case err == nil, errors.Is(err, ErrReplicas):
		seq.acked(e.Seq, e.Void)
	case certainlyNotWritten(err):
		seq.unused(e.Seq, e.Void)
	default:
		seq.unknown(e.Seq, e.Void)
	}
}
