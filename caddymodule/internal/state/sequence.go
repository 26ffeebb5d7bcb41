package state

import (
	"slices"
	"sync"
)

// sequence numbers the entries of one process on one shard, so that the worker
// can prove what is missing.
//
// A number is resolved once its entry was acknowledged, or once an acknowledged
// entry declared it void. The watermark is the highest number up to which all
// are resolved; a mark publishes it.
type sequence struct {
	mu        sync.Mutex
	next      uint64 // the number to hand out
	low       uint64 // the watermark
	resolved  map[uint64]struct{}
	void      []uint64 // appended or not, nobody knows: to be declared void
	free      []uint64 // certainly not appended: to be used again
	announced uint64   // watermark of the last acknowledged mark
}

// voidsPerEntry bounds what one entry carries of an earlier outage.
const voidsPerEntry = 256

func newSequence() *sequence {
	return &sequence{next: 1, resolved: make(map[uint64]struct{})}
}

// take hands out a number and the void numbers its entry shall declare. Each
// take is followed by exactly one acked, unused or unknown.
func (q *sequence) take() (seq uint64, void []uint64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if n := len(q.free); n > 0 {
		seq, q.free = q.free[n-1], q.free[:n-1]
	} else {
		seq = q.next
		q.next++
	}
	return seq, q.takeVoid()
}

func (q *sequence) takeVoid() []uint64 {
	n := min(len(q.void), voidsPerEntry)
	if n == 0 {
		return nil
	}
	void := slices.Clone(q.void[:n])
	q.void = slices.Delete(q.void, 0, n)
	return void
}

// acked says that the entry is in the stream.
func (q *sequence) acked(seq uint64, void []uint64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.resolve(seq)
	for _, n := range void {
		q.resolve(n)
	}
}

// unused says that the entry is certainly not in the stream: Redis answered
// with an error, or was never reached.
func (q *sequence) unused(seq uint64, void []uint64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.free = append(q.free, seq)
	q.void = append(q.void, void...)
}

// unknown says that the entry may or may not be in the stream: the answer was
// lost.
func (q *sequence) unknown(seq uint64, void []uint64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.void = append(append(q.void, seq), void...)
}

func (q *sequence) resolve(seq uint64) {
	if seq <= q.low {
		return
	}
	q.resolved[seq] = struct{}{}
	for {
		if _, ok := q.resolved[q.low+1]; !ok {
			return
		}
		q.low++
		delete(q.resolved, q.low)
	}
}

// mark is what the next mark shall say. Numbers free for use are declared void
// here, so that the watermark does not wait for the next entry. ok is false
// when the last mark said it all.
func (q *sequence) mark() (low uint64, void []uint64, ok bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.void = append(q.void, q.free...)
	q.free = nil
	void = q.takeVoid()
	return q.low, void, q.low > q.announced || len(void) > 0
}

// marked ends what mark began: ok says that the mark was acknowledged.
func (q *sequence) marked(low uint64, void []uint64, ok bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if !ok {
		q.void = append(q.void, void...)
		return
	}
	for _, n := range void {
		q.resolve(n)
	}
	q.announced = max(q.announced, low)
}
