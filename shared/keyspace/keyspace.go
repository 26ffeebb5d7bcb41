// Package keyspace names every Redis key of the project. Both sides, the edge
// and the worker, build their keys here and nowhere else.
//
// All keys of one shard carry the hash tag {s<k>}, so that every script and
// every MULTI of the project touches one slot of a Redis Cluster.
package keyspace

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"strconv"
)

const (
	// DefaultPrefix is the prefix of every key when REDIS_PREFIX is unset.
	DefaultPrefix = "waf:"

	// DefaultShards is the number of stream shards of a new installation.
	// It cannot change while sessions or entries are in Redis.
	DefaultShards = 16

	// LargeBody is the size in bytes above which an entry goes to the stream
	// of large bodies, which is read one entry at a time: 64 entries of at
	// most this size make a batch of at most 4 MiB.
	LargeBody = 64 << 10

	// Group is the consumer group in which the workers read the streams.
	Group = "workers"

	// Tombstone is the value of a flow in the index once the flow is gone. Only
	// a tombstone unloads a definition; a missing field or a missing index
	// never does.
	Tombstone = "-"
)

// Keys builds key names under one prefix for a fixed number of shards.
type Keys struct {
	prefix string
	shards int
}

// New returns the keys under prefix (DefaultPrefix when empty) for shards
// shards (DefaultShards when not positive).
func New(prefix string, shards int) Keys {
	if prefix == "" {
		prefix = DefaultPrefix
	}
	if shards <= 0 {
		shards = DefaultShards
	}
	return Keys{prefix: prefix, shards: shards}
}

// Shards is the number of shards.
func (k Keys) Shards() int { return k.shards }

// SessionShard is the shard of one session: the first 8 bytes, modulo the
// number of shards, of SHA-256(account, flow, token).
func (k Keys) SessionShard(account, flow, token string) int {
	sum := SessionID(account, flow, token)
	return k.DigestShard(sum[:])
}

// DigestShard is the shard of something named by a digest of at least 8 bytes:
// an envelope hash, or the verified HMAC of a webhook.
func (k Keys) DigestShard(digest []byte) int {
	return int(binary.BigEndian.Uint64(digest) % uint64(k.shards))
}

// SessionID identifies a session: SHA-256 over account, flow and token, each
// followed by a zero byte.
func SessionID(account, flow, token string) [sha256.Size]byte {
	var room [256]byte // most tokens are shorter
	buf := append(append(room[:0], account...), 0)
	buf = append(append(buf, flow...), 0)
	buf = append(append(buf, token...), 0)
	return sha256.Sum256(buf)
}

// TokenHash is the form in which a flow token appears in keys and in unique
// constraints: SHA-256, lower-case hex.
func TokenHash(token string) string {
	return Hex(sha256.Sum256([]byte(token)))
}

// Hex is the form in which a digest appears in keys and ids: lower-case hex.
func Hex(sum [sha256.Size]byte) string {
	var digits [2 * sha256.Size]byte
	hex.Encode(digits[:], sum[:])
	return string(digits[:])
}

// shard is a key of shard n: what it is, and of which.
func (k Keys) shard(n int, what, which string) string {
	return k.prefix + "{s" + strconv.Itoa(n) + "}:" + what + which
}

// Events is the stream of shard n.
func (k Keys) Events(n int) string { return k.shard(n, "events", "") }

// LargeEvents is the stream of shard n for bodies over LargeBody.
func (k Keys) LargeEvents(n int) string { return k.shard(n, "events:large", "") }

// EventsFor is the stream of shard n for a body of size bytes.
func (k Keys) EventsFor(n, size int) string {
	if size > LargeBody {
		return k.LargeEvents(n)
	}
	return k.Events(n)
}

// DeadEvents is the stream of entries of shard n that the worker gave up on.
func (k Keys) DeadEvents(n int) string { return k.shard(n, "events:dead", "") }

// Session is the key of one session, in shard n (see SessionShard).
func (k Keys) Session(n int, account, flow, token string) string {
	return k.prefix + "{s" + strconv.Itoa(n) + "}:session:" + account + ":" + flow + ":" + TokenHash(token)
}

// Reply is the key of the reply stored for one envelope, in shard n.
func (k Keys) Reply(n int, envelopeHash string) string {
	return k.shard(n, "reply:", envelopeHash)
}

// Claim is the key by which one request holds the right to answer, in shard n.
// id is the envelope hash of a stateless request, else the session id and the
// step hash joined by a colon.
func (k Keys) Claim(n int, id string) string { return k.shard(n, "claim:", id) }

// ShardCount holds the number of shards of this installation.
func (k Keys) ShardCount() string { return k.prefix + "shards" }

// Definition is the immutable document of one definition, by its hash.
func (k Keys) Definition(hash string) string { return k.prefix + "flow:" + hash }

// Index is the hash that maps IndexField to a definition's hash or Tombstone.
func (k Keys) Index() string { return k.prefix + "flows" }

// Changed is the channel on which a change of the index is announced.
func (k Keys) Changed() string { return k.prefix + "flows:changed" }

// Edges is the hash in which each edge process shows that it runs, by its
// source (see package presence).
func (k Keys) Edges() string { return k.prefix + "edges" }

// IndexField is the field of one flow in the index.
func IndexField(account, flow string) string { return account + "/" + flow }
