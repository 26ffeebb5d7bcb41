package ingest

import (
	"cmp"
	"slices"
	"strconv"
	"strings"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/event"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/worker/internal/stream"
)

// A writing process whose name or numbers are beyond these is not tracked: it is
// not an edge of ours.
const (
	longestSource = 200
	highestSeq    = 1 << 60
)

// source is what a batch shows of one writing process on one shard.
type source struct {
	src   string
	shard int
	seqs  []uint64 // arrived, or void: never acknowledged, so not missing
	mark  uint64
}

type sources map[sourceKey]*source

type sourceKey struct {
	src   string
	shard int
}

// see counts an entry as arrived, dead and duplicate ones too.
func (all sources) see(e stream.Entry) {
	if e.Event.Source == "" || len(e.Event.Source) > longestSource || e.Event.Seq > highestSeq {
		return
	}
	key := sourceKey{clean(e.Event.Source), e.Shard}
	s := all[key]
	if s == nil {
		s = &source{src: key.src, shard: key.shard}
		all[key] = s
	}
	if e.Event.Kind == event.KindMark {
		s.mark = max(s.mark, e.Event.Seq) // a mark has no number of its own
	} else if e.Event.Seq > 0 {
		s.seqs = append(s.seqs, e.Event.Seq)
	}
	for _, n := range e.Event.Void {
		if n > 0 && n <= highestSeq {
			s.seqs = append(s.seqs, n)
		}
	}
}

// sorted lists the sources in the order in which every transaction locks them.
func (all sources) sorted() []*source {
	list := make([]*source, 0, len(all))
	for _, s := range all {
		list = append(list, s)
	}
	slices.SortFunc(list, func(a, b *source) int {
		return cmp.Or(cmp.Compare(a.src, b.src), cmp.Compare(a.shard, b.shard))
	})
	return list
}

// ranges is the set of numbers as the text of an int8multirange.
func (s *source) ranges() string {
	slices.Sort(s.seqs)
	var b strings.Builder
	b.WriteByte('{')
	for i := 0; i < len(s.seqs); {
		first, last := s.seqs[i], s.seqs[i]
		for i++; i < len(s.seqs) && s.seqs[i] <= last+1; i++ {
			last = s.seqs[i]
		}
		if b.Len() > 1 {
			b.WriteByte(',')
		}
		b.WriteByte('[')
		b.WriteString(strconv.FormatUint(first, 10))
		b.WriteByte(',')
		b.WriteString(strconv.FormatUint(last+1, 10))
		b.WriteByte(')')
	}
	b.WriteByte('}')
	return b.String()
}
