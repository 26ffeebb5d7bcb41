package caddymodule

import (
	"bytes"
	"sync"
)

// body is the raw body of a request. Its memory is used again: it is ciphertext,
// or a webhook that Redis has, and need not be overwritten.
type body struct {
	bytes []byte
	room  *[]byte // nil when it is not from the pool
}

// bodyRooms are for bodies up to these sizes. A phone's request is 1 to 4 KiB,
// one with photos of some 10 KiB: they are uploaded elsewhere.
var bodyRooms = [...]struct {
	size int
	pool *sync.Pool
}{
	{4 << 10, new(sync.Pool)},
	{smallBody, new(sync.Pool)},
}

// pooledBody returns a body of length bytes, at most smallBody, that hold
// whatever they held.
func pooledBody(length int) body {
	for _, class := range bodyRooms {
		if length > class.size {
			continue
		}
		room, ok := class.pool.Get().(*[]byte)
		if !ok {
			made := make([]byte, class.size)
			room = &made
		}
		return body{bytes: (*room)[:length], room: room}
	}
	return body{bytes: make([]byte, length)}
}

// release gives the memory back. Nothing may use the bytes any more.
func (b *body) release() {
	for _, class := range bodyRooms {
		if b.room != nil && len(*b.room) == class.size {
			class.pool.Put(b.room)
		}
	}
	*b = body{}
}

// replay lets whatever runs after the handler read the body as it came.
type replay struct{ bytes.Reader }

func (*replay) Close() error { return nil }
