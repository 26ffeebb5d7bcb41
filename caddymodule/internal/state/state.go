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

// replyTTLText is replyTTL in milliseconds, as every write of an answer sends it.
var replyTTLText any = strconv.FormatInt(replyTTL.Milliseconds(), 10)

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
	primaries primaries
	underWay  int
	full      atomic.Bool
}

// NewStore returns a Store over client. It touches no network. The numbering of
// its entries begins anew, under a source of its own.
func NewStore(client redis.UniversalClient, keys keyspace.Keys, o Options) *Store {
	if o.Now == nil {
		o.Now = time.Now
	}
	s := &Store{
		client: client, keys: keys, options: o, source: randomID(),
		sequences: make([]*sequence, keys.Shards()),
		primaries: primaries{batchers: make(map[primary]*batcher)},
		underWay:  batchesUnderWay,
	}
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

func (s Stored) append(to []byte) []byte {
	return append(strconv.AppendInt(to, int64(s.Status), 10), s.Body...)
}

// decodeStored reads a stored answer; its body is a part of raw.
func decodeStored(raw []byte) (Stored, error) {
	if len(raw) < 3 {
		return Stored{}, fmt.Errorf("stored reply is %d bytes, expected a status and a body", len(raw))
	}
	status, err := strconv.Atoi(string(raw[:3]))
	if err != nil {
		return Stored{}, fmt.Errorf("stored reply begins with %q, expected an HTTP status", raw[:3])
	}
	return Stored{Status: status, Body: raw[3:]}, nil
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
		reply, session := s.reply(l), s.session(l)
		c := openScript.call(ctx, 3, []any{nil, nil, nil, reply, session, l.Claim,
			l.StepHash, l.RetryWindow.Milliseconds(), claim, ttl.Milliseconds()})
		s.do(c, reply)
		if c.err != nil {
			return Opened{}, c.err
		}
		switch verdict, rest := c.reply[0], c.reply[1:]; verdict {
		case verdictReplied:
			stored, err := decodeStored(rest)
			return Opened{Verdict: Replied, Stored: stored}, err
		case verdictRepeat:
			r, err := parseRecord(rest)
			return Opened{Verdict: Repeat, Reply: r.reply}, err
		case verdictRun:
			r, err := parseRecord(rest)
			return Opened{Verdict: Run, Version: r.version, Session: r.session, ClaimID: claim}, err
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
	room := newRoom(maxHeader + len(st.Session) + len(st.Reply) + len(st.Stored.Body))
	defer room.free()
	expect, record := "", room.bytes
	if l.Session != "" {
		if st.ExpectVersion != 0 {
			expect = strconv.FormatInt(st.ExpectVersion, 10)
		}
		record = appendRecord(record, st.Version, st.SessionTTL, l.StepHash, st.Session, st.Reply)
	}
	answer := st.Stored.append(record[len(record):])
	seq := s.sequences[l.Shard]
	e := st.Event
	e.Source = s.source
	e.Seq, e.Void = seq.take()

	reply := s.reply(l)
	args := append(make([]any, 0, 36), nil, nil, nil,
		reply, s.session(l), l.Claim, s.keys.EventsFor(l.Shard, len(e.Body)),
		expect, record, st.SessionTTL.Milliseconds(), answer, replyTTLText, st.ClaimID)
	c := commitScript.call(ctx, 4, append(args, e.Values()...))
	c.size, c.write = len(record)+len(answer)+len(e.Body), true
	s.do(c, reply)
	if c.reply == nil {
		settle(seq, e, c.err)
		return Committed{}, c.err
	}
	switch verdict, rest := c.reply[0], c.reply[1:]; verdict {
	case verdictReplied:
		seq.unused(e.Seq, e.Void)
		stored, err := decodeStored(rest)
		return Committed{Existing: &stored}, err
	case verdictRun:
		seq.unused(e.Seq, e.Void)
		r, err := parseRecord(rest)
		return Committed{Conflict: true, Version: r.version, Session: r.session}, err
	default:
		seq.acked(e.Seq, e.Void)
		return Committed{}, c.err
	}
}

// Keep stores a sealed answer that moves no session, such as a 427, a fallback
// or a repeated reply, and gives claimID back ("" for none). It returns the
// answer to send: an earlier one of the same envelope wins, because one key and
// IV must never seal two texts.
func (s *Store) Keep(ctx context.Context, l Lookup, claimID string, stored Stored) (Stored, error) {
	room := newRoom(maxHeader + len(stored.Body))
	defer room.free()
	reply, raw := s.reply(l), stored.append(room.bytes)
	c := keepScript.call(ctx, 2, []any{nil, nil, nil, reply, l.Claim, raw, replyTTLText, claimID})
	c.size = len(raw)
	s.do(c, reply)
	switch {
	case c.err != nil:
		return Stored{}, c.err
	case c.reply[0] == verdictReplied:
		return decodeStored(c.reply[1:])
	}
	return stored, nil
}
