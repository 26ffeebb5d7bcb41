package state

import (
	"bytes"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"time"
)

// record is a session as it lies under its key, one string:
//
//	version " " ttl " " session length " " step hash "\n" session reply
//
// The numbers are decimal, the ttl in milliseconds; the reply is that of the
// last step. One string takes a third of the memory of a hash with these
// fields, and one command to write together with its expiry.
type record struct {
	version int64
	session []byte
	reply   []byte
}

// maxHeader is room for the header of any record and the status of an answer:
// three numbers and a hash in hex.
const maxHeader = 3*20 + 64 + 4 + 3

// appendRecord appends the record of a session to to.
func appendRecord(to []byte, version int64, ttl time.Duration, step string, session, reply []byte) []byte {
	to = strconv.AppendInt(to, version, 10)
	to = strconv.AppendInt(append(to, ' '), ttl.Milliseconds(), 10)
	to = strconv.AppendInt(append(to, ' '), int64(len(session)), 10)
	to = append(append(append(to, ' '), step...), '\n')
	return append(append(to, session...), reply...)
}

// parseRecord reads a record; its slices are parts of raw. An empty raw is no
// session.
func parseRecord(raw []byte) (record, error) {
	if len(raw) == 0 {
		return record{}, nil
	}
	header, rest, ended := bytes.Cut(raw, []byte("\n"))
	fields := bytes.SplitN(header, []byte(" "), 4)
	if len(fields) != 4 || !ended {
		return record{}, fmt.Errorf("session record begins with %d fields, expected a line of version, ttl, length and step", len(fields))
	}
	version, err := strconv.ParseInt(string(fields[0]), 10, 64)
	if err != nil || version <= 0 {
		return record{}, fmt.Errorf("session version is %.20q, expected a number from 1", fields[0])
	}
	n, err := strconv.Atoi(string(fields[2]))
	if err != nil || n < 0 || n > len(rest) {
		return record{}, fmt.Errorf("session length is %.20q, expected a number up to %d", fields[2], len(rest))
	}
	return record{version: version, session: rest[:n:n], reply: rest[n:]}, nil
}

// room is memory for what one command sends, used again by the next. Nothing of
// it is left to read there.
type room struct{ bytes []byte }

// largestRoom bounds what is kept between two commands.
const largestRoom = 64 << 10

var rooms = sync.Pool{New: func() any { return new(room) }}

// newRoom returns an empty slice with at least size bytes to append to.
func newRoom(size int) *room {
	r := rooms.Get().(*room)
	r.bytes = slices.Grow(r.bytes, size)
	return r
}

func (r *room) free() {
	clear(r.bytes[:cap(r.bytes)])
	if cap(r.bytes) <= largestRoom {
		rooms.Put(r)
	}
}
