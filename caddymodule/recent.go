package caddymodule

import (
	"sync"
	"time"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/caddymodule/internal/state"
)

const (
	recentFor     = 10 * time.Minute
	recentEntries = 4096
	recentBytes   = 16 << 20
)

// recentAnswers remembers what this process has sealed. An envelope's key and IV
// must never seal two texts. Redis sees to that between processes, but not while
// it is down, nor when the same envelope comes to another flow, whose state is
// in another shard.
var recentAnswers = newRecent(recentEntries, recentBytes, recentFor)

type recentEntry struct {
	hash   [32]byte
	stored state.Stored
	until  time.Time
}

// recent is a bounded cache of sealed answers by envelope hash, oldest out first.
type recent struct {
	entries, bytes int
	keep           time.Duration

	mu     sync.Mutex
	byHash map[[32]byte]*recentEntry
	queue  []*recentEntry
	held   int
}

func newRecent(entries, bytes int, keep time.Duration) *recent {
	return &recent{entries: entries, bytes: bytes, keep: keep, byHash: make(map[[32]byte]*recentEntry)}
}

// get returns the answer that was sent to this envelope.
func (r *recent) get(hash [32]byte, now time.Time) (state.Stored, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	entry, ok := r.byHash[hash]
	if !ok || now.After(entry.until) {
		return state.Stored{}, false
	}
	return entry.stored, true
}

// put remembers an answer and returns the one to send: an earlier one wins. One
// that would fill more than the whole cache is not remembered.
func (r *recent) put(hash [32]byte, stored state.Stored, now time.Time) state.Stored {
	if len(stored.Body) > r.bytes {
		return stored
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if entry, ok := r.byHash[hash]; ok && !now.After(entry.until) {
		return entry.stored
	}
	for len(r.queue) > 0 && (now.After(r.queue[0].until) || len(r.queue) >= r.entries || r.held+len(stored.Body) > r.bytes) {
		oldest := r.queue[0]
		r.queue[0] = nil
		r.queue = r.queue[1:]
		r.held -= len(oldest.stored.Body)
		if r.byHash[oldest.hash] == oldest {
			delete(r.byHash, oldest.hash)
		}
	}
	entry := &recentEntry{hash: hash, stored: stored, until: now.Add(r.keep)}
	r.byHash[hash] = entry
	r.queue = append(r.queue, entry)
	r.held += len(stored.Body)
	return stored
}
