package admission

import (
	"errors"
	"io"
	"math"
	"sync/atomic"
)

// ErrFull is a body that has no room beside those that are under way.
var ErrFull = errors.New("the bodies of other requests fill the memory that is set aside for bodies")

// Budget bounds the memory that the bodies of requests under way may take
// together. It is safe for concurrent use.
type Budget struct {
	limit int64
	taken atomic.Int64
}

// NewBudget makes a Budget of so many bytes.
func NewBudget(limit int64) *Budget { return &Budget{limit: limit} }

// Take takes n bytes and returns ErrFull when there are not as many left. What is
// taken must be given back.
func (b *Budget) Take(n int64) error {
	if b.taken.Add(n) > b.limit {
		b.taken.Add(-n)
		return ErrFull
	}
	return nil
}

// Give gives n bytes back.
func (b *Budget) Give(n int64) { b.taken.Add(-n) }

// Taken is how many bytes are taken.
func (b *Budget) Taken() int64 { return b.taken.Load() }

// Reader is a body whose bytes are taken from a Budget. Close gives everything
// back, and must not come before the body's bytes are of no more use. What is
// read after it, such as the rest of a body that was refused, is not counted:
// nobody would give it back.
type Reader struct {
	from   io.Reader
	budget *Budget
	paid   int64 // how many more bytes may come before the Budget is asked again
	taken  int64
	full   error
}

// Reader reads a body. So many of its first bytes are free, the others are taken
// as they come.
func (b *Budget) Reader(body io.Reader, free int64) *Reader {
	return &Reader{from: body, budget: b, paid: free}
}

// Read reads. Its error is ErrFull when the Budget has no room.
func (r *Reader) Read(p []byte) (int, error) {
	if r.full != nil {
		return 0, r.full
	}
	n, err := r.from.Read(p)
	if r.paid -= int64(n); r.paid < 0 {
		if r.full = r.budget.Take(-r.paid); r.full != nil {
			return 0, r.full
		}
		r.taken -= r.paid
		r.paid = 0
	}
	return n, err
}

// Close gives back what was taken. It does not close the body.
func (r *Reader) Close() {
	r.budget.Give(r.taken)
	r.taken, r.paid = 0, math.MaxInt64
}
