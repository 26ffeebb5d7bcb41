// Package state is the edge's side of Redis: sessions, stored replies and
// claims in two scripts, one per round trip, and the streams of events.
//
// Every method returns the error of the Redis client as it came; the caller
// treats any of them as "Redis is down" and answers without it.
package state

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/event"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/keyspace"
)

// replyTTL is how long a sealed answer is kept under its envelope. WhatsApp
// gives up on a request after 10 s; ten minutes outlast any replay on the way.
const replyTTL = 10 * time.Minute

// Options tune a Store.
type Options struct {
	// Wait is the number of replicas that must have a write before it counts,
	// within WaitTimeout (Redis WAIT). 0, the default, waits for none.
	Wait        int
	WaitTimeout time.Duration
	// Now is the clock of the entries; time.Now when nil.
	Now func() time.Time
}

// Store keeps the state of one edge process in Redis.
type Store struct {
	client    redis.UniversalClient
	keys      keyspace.Keys
	options   Options
	source    string
	sequences []*sequence
	full      atomic.Bool
}

// NewStore returns a Store over client. It touches no network. The numbering of
// its entries begins anew, under a source of its own.
func NewStore(client redis.UniversalClient, keys keyspace.Keys, o Options) *Store {
	if o.Now == nil {
		o.Now = time.Now
	}
	s := &Store{client: client, keys: keys, options: o, source: randomID(), sequences: make([]*sequence, keys.Shards())}
	for i := range s.sequences {
		s.sequences[i] = newSequence()
	}
	return s
}

// Keys are the key names this store uses.
func (s *Store) Keys() keyspace.Keys { return s.keys }

// Source names this store in the entries it appends.
func (s *Store) Source() string { return s.source }

func randomID() string {
	var id [12]byte
	_, _ = rand.Read(id[:]) // never fails, see crypto/rand
	return hex.EncodeToString(id[:])
}

// Stored is a sealed answer as it is kept under its envelope.
type Stored struct {
	Status int    // 200 or 427
	Body   []byte // base64 text
}

func (s Stored) encode() []byte {
	return append(strconv.AppendInt(make([]byte, 0, len(s.Body)+3), int64(s.Status), 10), s.Body...)
}

func decodeStored(raw string) (Stored, error) {
	if len(raw) < 3 {
		return Stored{}, fmt.Errorf("stored reply is %d bytes, expected a status and a body", len(raw))
	}
	status, err := strconv.Atoi(raw[:3])
	if err != nil {
		return Stored{}, fmt.Errorf("stored reply begins with %q, expected an HTTP status", raw[:3])
	}
	return Stored{Status: status, Body: []byte(raw[3:])}, nil
}

// Lookup names the state of one request.
type Lookup struct {
	Shard        int
	EnvelopeHash string // hex
	Session      string // key; empty for a stateless request
	Claim        string // key
	StepHash     string // hex; empty for a stateless request
	RetryWindow  time.Duration
	ClaimTTL     time.Duration // what is left of the request's time budget
}

func (s *Store) reply(l Lookup) string { return s.keys.Reply(l.Shard, l.EnvelopeHash) }

// session is the key for a script that must name one. A stateless request names
// its reply, which the script then leaves alone.
func (s *Store) session(l Lookup) string {
	if l.Session == "" {
		return s.reply(l)
	}
	return l.Session
}

// Verdict says what Open found.
type Verdict int

// The verdicts of Open.
const (
	Run     Verdict = iota // the claim is ours: work the answer out
	Replied                // this very envelope has its answer
	Repeat                 // the last step again: seal its reply under this request's key
)

// Opened is what the first round trip found.
type Opened struct {
	Verdict Verdict
	Stored  Stored // of Replied
	Reply   []byte // of Repeat: plaintext

	// Of Run: the session, nil and 0 when there is none, and the claim.
	Version int64
	Session []byte
	ClaimID string
}

// Open is the first round trip. While another request holds the claim it waits
// for that request's reply, or for its claim to end, until ctx ends.
func (s *Store) Open(ctx context.Context, l Lookup) (Opened, error) {
	claim := randomID()
	deadline := s.options.Now().Add(l.ClaimTTL)
	const firstPause, longestPause = 2 * time.Millisecond, 50 * time.Millisecond
	for pause := firstPause; ; pause = min(2*pause, longestPause) {
		// A waiter's own claim must end with its own budget.
		ttl := max(deadline.Sub(s.options.Now()), time.Millisecond)
		res, err := openScript.Run(ctx, s.client,
			[]string{s.reply(l), s.session(l), l.Claim},
			l.StepHash, l.RetryWindow.Milliseconds(), claim, ttl.Milliseconds()).StringSlice()
		if err != nil {
			return Opened{}, err
		}
		switch res[0] {
		case "reply":
			stored, err := decodeStored(res[1])
			return Opened{Verdict: Replied, Stored: stored}, err
		case "repeat":
			return Opened{Verdict: Repeat, Reply: []byte(res[1])}, nil
		case "run":
			version, session, err := decodeSession(res[1], res[2])
			return Opened{Verdict: Run, Version: version, Session: session, ClaimID: claim}, err
		}
		timer := time.NewTimer(pause)
		select {
		case <-ctx.Done():
			timer.Stop()
			return Opened{}, ctx.Err()
		case <-timer.C:
		}
	}
}

func decodeSession(version, session string) (int64, []byte, error) {
	if version == "" {
		return 0, nil, nil
	}
	n, err := strconv.ParseInt(version, 10, 64)
	if err != nil {
		return 0, nil, fmt.Errorf("session version is %q, expected a number", version)
	}
	return n, []byte(session), nil
}

// Step is what the second round trip writes.
type Step struct {
	Lookup  Lookup
	ClaimID string

	ExpectVersion int64 // 0 for a session that is new
	Version       int64
	Session       []byte // JSON
	Reply         []byte // plaintext, for an equal request to come
	SessionTTL    time.Duration

	Stored Stored
	Event  event.Entry // Source, Seq and Void are filled in here
}

// Committed is what became of a Step. When Conflict, nothing was written and
// the claim is still held.
type Committed struct {
	Conflict bool
	Version  int64  // the session that is there now
	Session  []byte // nil when it is gone
	Existing *Stored
}

// ErrReplicas is returned when a write is in Redis but too few replicas have
// confirmed it in time.
var ErrReplicas = errors.New("too few replicas confirmed the write in time")

// Commit is the second round trip: it compares the session's version, writes
// session, replies and event, and releases the claim, all or nothing.
func (s *Store) Commit(ctx context.Context, st Step) (Committed, error) {
	l := st.Lookup
	expect, version := "", ""
	if l.Session != "" {
		version = strconv.FormatInt(st.Version, 10)
		if st.ExpectVersion != 0 {
			expect = strconv.FormatInt(st.ExpectVersion, 10)
		}
	}
	seq := s.sequences[l.Shard]
	e := st.Event
	e.Source = s.source
	e.Seq, e.Void = seq.take()

	args := append(make([]any, 0, 32),
		expect, version, st.Session, l.StepHash, st.Reply, st.SessionTTL.Milliseconds(),
		st.Stored.encode(), replyTTL.Milliseconds(), st.ClaimID)
	args = append(args, e.Values()...)
	res, err := s.run(ctx, commitScript,
		[]string{s.reply(l), s.session(l), l.Claim, s.keys.EventsFor(l.Shard, len(e.Body))}, args)
	if err != nil && !errors.Is(err, ErrReplicas) {
		settle(seq, e, err)
		return Committed{}, err
	}
	switch res[0] {
	case "reply":
		seq.unused(e.Seq, e.Void)
		stored, err := decodeStored(res[1])
		return Committed{Existing: &stored}, err
	case "conflict":
		seq.unused(e.Seq, e.Void)
		version, session, err := decodeSession(res[1], res[2])
		return Committed{Conflict: true, Version: version, Session: session}, err
	default:
		seq.acked(e.Seq, e.Void)
		return Committed{}, err
	}
}

// Keep stores a sealed answer that moves no session, such as a 427, a fallback
// or a repeated reply, and gives claimID back ("" for none). It returns the
// answer to send: an earlier one of the same envelope wins, because one key and
// IV must never seal two texts.
func (s *Store) Keep(ctx context.Context, l Lookup, claimID string, stored Stored) (Stored, error) {
	raw, err := keepScript.Run(ctx, s.client, []string{s.reply(l), l.Claim},
		stored.encode(), replyTTL.Milliseconds(), claimID).Text()
	if err != nil {
		return Stored{}, err
	}
	return decodeStored(raw)
}

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

// certainlyNotWritten says that a failed command had no effect: Redis refused
// it, or was never reached.
func certainlyNotWritten(err error) bool {
	var refused redis.Error
	if errors.As(err, &refused) && refused != redis.Nil {
		return true
	}
	var op *net.OpError
	return errors.Is(err, redis.ErrPoolTimeout) || errors.As(err, &op) && op.Op == "dial"
}
