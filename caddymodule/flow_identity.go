package caddymodule

import (
	"strconv"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/keyspace"
)

// identity names what a request is about, as keys and events have it.
type identity struct {
	envelope string // hash of the envelope, hex
	session  string // id of the session, hex; empty for a stateless request
	shard    int    // where the state and the events of this request are
}

// identity is made once: several keys and ids are made of the same hashes.
func (x *exchange) identity() *identity {
	id := &x.named
	if id.envelope != "" {
		return id
	}
	id.envelope = keyspace.Hex(x.envelope.Hash)
	if x.request.Stateless() {
		id.shard = x.backend.keys.DigestShard(x.envelope.Hash[:])
		return id
	}
	sum := keyspace.SessionID(x.account.name, x.name, x.request.Token)
	id.session, id.shard = keyspace.Hex(sum), x.backend.keys.DigestShard(sum[:])
	return id
}

// step is the id of the event of a session's step: the session's, and its
// version then.
func (id *identity) step(version int64) string {
	var room [96]byte // a digest and a number
	return string(id.appendStep(room[:0], version))
}

func (id *identity) appendStep(b []byte, version int64) []byte {
	return strconv.AppendInt(append(append(b, id.session...), ':'), version, 10)
}
