package state

import (
	"slices"
	"testing"
)

func TestWatermarkPassesOnlyWhatIsSettled(t *testing.T) {
	q := newSequence()
	one, _ := q.take()
	two, _ := q.take()
	three, _ := q.take()

	q.acked(two, nil)
	if low, _, _ := q.mark(); low != 0 {
		t.Fatalf("watermark is %d while 1 is under way, expected 0", low)
	}
	q.acked(one, nil)
	if low, _, ok := q.mark(); low != 2 || !ok {
		t.Fatalf("watermark is %d (new %v), expected 2", low, ok)
	}
	q.marked(2, nil, true)
	if _, _, ok := q.mark(); ok {
		t.Fatal("nothing happened since the last mark, yet there is one to publish")
	}
	q.acked(three, nil)
	if low, _, _ := q.mark(); low != 3 {
		t.Fatalf("watermark is %d, expected 3", low)
	}
}

func TestLostAnswerIsDeclaredVoidByTheNextEntry(t *testing.T) {
	q := newSequence()
	one, _ := q.take()
	q.unknown(one, nil)

	two, void := q.take()
	if two != 2 || !slices.Equal(void, []uint64{1}) {
		t.Fatalf("next entry is %d declaring %v void, expected 2 declaring [1]", two, void)
	}
	if low, _, _ := q.mark(); low != 0 {
		t.Fatalf("watermark is %d before the declaration arrived, expected 0", low)
	}

	q.unknown(two, void) // the declaration itself may be lost
	three, void := q.take()
	slices.Sort(void)
	if !slices.Equal(void, []uint64{1, 2}) {
		t.Fatalf("entry %d declares %v void, expected [1 2]", three, void)
	}
	q.acked(three, void)
	if low, _, _ := q.mark(); low != 3 {
		t.Fatalf("watermark is %d, expected 3", low)
	}
}

func TestRefusedEntryGivesItsNumberBack(t *testing.T) {
	q := newSequence()
	one, _ := q.take()
	q.unused(one, nil)
	again, void := q.take()
	if again != one || len(void) != 0 {
		t.Fatalf("number %d declaring %v, expected %d again and nothing void", again, void, one)
	}
	q.unused(again, nil)
	if low, void, _ := q.mark(); low != 0 || !slices.Equal(void, []uint64{1}) {
		t.Fatalf("a mark with watermark %d declares %v, expected 0 and [1]", low, void)
	}
}

func TestLongOutageIsDeclaredInParts(t *testing.T) {
	q := newSequence()
	for range 1000 {
		seq, void := q.take()
		q.unknown(seq, void)
	}
	seen := make(map[uint64]bool)
	for range 10 {
		seq, void := q.take()
		if len(void) > voidsPerEntry {
			t.Fatalf("an entry declares %d numbers void, expected at most %d", len(void), voidsPerEntry)
		}
		for _, n := range void {
			seen[n] = true
		}
		q.acked(seq, void)
	}
	if len(seen) != 1000 {
		t.Fatalf("%d numbers were declared void, expected 1000", len(seen))
	}
	if low, _, _ := q.mark(); low != 1010 {
		t.Fatalf("watermark is %d, expected 1010", low)
	}
}

// FuzzSequence lets appends succeed, fail and vanish in any order, and holds
// what the entries say against what the stream has.
func FuzzSequence(f *testing.F) {
	f.Add([]byte{0, 0, 4, 5, 6, 7, 3})
	f.Add([]byte{0, 6, 0, 7, 0, 4, 3, 3})
	f.Fuzz(func(t *testing.T, moves []byte) {
		type taken struct {
			seq  uint64
			void []uint64
		}
		q := newSequence()
		var underWay []taken
		stream, void := make(map[uint64]bool), make(map[uint64]bool)
		arrive := func(e taken) {
			if stream[e.seq] {
				t.Fatalf("number %d stands for two entries", e.seq)
			}
			stream[e.seq] = true
			for _, n := range e.void {
				void[n] = true
			}
		}
		for _, move := range moves {
			if move%8 < 3 {
				seq, void := q.take()
				underWay = append(underWay, taken{seq, void})
				continue
			}
			if move%8 == 3 {
				low, declared, ok := q.mark()
				if !ok {
					continue
				}
				for _, n := range declared {
					void[n] = true
				}
				for n := uint64(1); n <= low; n++ {
					if !stream[n] && !void[n] {
						t.Fatalf("a mark of %d, but %d is neither in the stream nor void", low, n)
					}
				}
				q.marked(low, declared, true)
				continue
			}
			if len(underWay) == 0 {
				continue
			}
			i := int(move/8) % len(underWay)
			e := underWay[i]
			underWay = slices.Delete(underWay, i, i+1)
			switch move % 8 {
			case 4:
				arrive(e)
				q.acked(e.seq, e.void)
			case 5:
				q.unused(e.seq, e.void)
			case 6: // written, and the answer lost
				arrive(e)
				q.unknown(e.seq, e.void)
			case 7: // lost on the way
				q.unknown(e.seq, e.void)
			}
		}
	})
}
