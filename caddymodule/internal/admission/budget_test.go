package admission

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"sync"
	"testing"
	"testing/iotest"
)

func TestWhatIsReadIsTakenFromTheBudget(t *testing.T) {
	for name, c := range map[string]struct {
		body, free, limit, others int64

		taken int64 // at the end of the body
		full  bool
	}{
		"a small body is free":                        {body: 100, free: 100, limit: 10},
		"a small body is free when there is no room":  {body: 100, free: 100, limit: 10, others: 10},
		"only what is not free is counted":            {body: 110, free: 100, limit: 10, taken: 10},
		"a body that is over the limit":               {body: 111, free: 100, limit: 10, full: true},
		"a body that has no room beside other bodies": {body: 105, free: 100, limit: 10, others: 6, full: true},
	} {
		for how, slowly := range map[string]func(io.Reader) io.Reader{
			"at once":      func(r io.Reader) io.Reader { return r },
			"byte by byte": iotest.OneByteReader,
			"by halves":    iotest.HalfReader,
		} {
			t.Run(name+", "+how, func(t *testing.T) {
				b := NewBudget(c.limit)
				if err := b.Take(c.others); err != nil {
					t.Fatal(err)
				}
				r := b.Reader(slowly(strings.NewReader(strings.Repeat("x", int(c.body)))), c.free)
				read, err := io.ReadAll(r)
				if c.full != errors.Is(err, ErrFull) || (!c.full && int64(len(read)) != c.body) {
					t.Errorf("%d bytes were read, error %v; expected %d, full %v", len(read), err, c.body, c.full)
				}
				if taken := b.Taken() - c.others; !c.full && taken != c.taken {
					t.Errorf("%d bytes were taken, expected %d", taken, c.taken)
				}
				r.Close()
				r.Close()
				if b.Taken() != c.others {
					t.Errorf("%d bytes are taken after Close, expected the %d of others", b.Taken(), c.others)
				}
			})
		}
	}
}

func TestWhatIsReadAfterCloseIsNotCounted(t *testing.T) {
	b := NewBudget(100)
	r := b.Reader(strings.NewReader(strings.Repeat("x", 200)), 10)
	if _, err := io.CopyN(io.Discard, r, 50); err != nil {
		t.Fatal(err)
	}
	r.Close()
	if rest, err := io.ReadAll(r); len(rest) != 150 || err != nil || b.Taken() != 0 {
		t.Errorf("of the 150 bytes left, %d came, %d of them taken; error %v", len(rest), b.Taken(), err)
	}
}

func TestWhatCannotBeTakenIsNotTaken(t *testing.T) {
	b := NewBudget(10)
	if err := b.Take(11); !errors.Is(err, ErrFull) {
		t.Errorf("11 of 10 bytes gave %v, expected ErrFull", err)
	}
	if err := b.Take(10); err != nil {
		t.Errorf("10 of 10 bytes gave %v", err)
	}
}

func TestBodiesOfManyAtOnce(t *testing.T) {
	const size, at = 1000, 50
	b := NewBudget(size * at / 2)
	var all sync.WaitGroup
	for range at {
		all.Go(func() {
			for range 100 {
				r := b.Reader(bytes.NewReader(make([]byte, size)), 0)
				if _, err := io.Copy(io.Discard, r); err != nil && !errors.Is(err, ErrFull) {
					t.Error(err)
				}
				r.Close()
			}
		})
	}
	all.Wait()
	if b.Taken() != 0 {
		t.Errorf("%d bytes are taken at the end, expected none", b.Taken())
	}
}
