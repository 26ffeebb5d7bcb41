package caddymodule

import (
	"encoding/binary"
	"fmt"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/caddymodule/internal/state"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/flow"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/keyspace"
)

// BenchmarkFindFlow is what a request costs to find its published definition and
// to know that its upstreams have been looked at.
func BenchmarkFindFlow(b *testing.B) {
	def, err := flow.Load(bookingJSON(b), nil)
	if err != nil {
		b.Fatal(err)
	}
	for _, n := range []int{1, 1000} {
		b.Run(fmt.Sprintf("flows=%d", n), func(b *testing.B) {
			app := &App{logger: zap.NewNop()}
			if err := app.provisionUpstreams(); err != nil {
				b.Fatal(err)
			}
			c := &catalog{refused: map[string]bool{}}
			flows := make(map[string]indexed, n)
			for i := range n {
				flows[keyspace.IndexField(defaultAccount, fmt.Sprint("feedback", i))] = indexed{hash: def.Hash(), def: def}
			}
			c.current.Store(&index{flows, true})
			p := published{&backend{catalog: c}}
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					found, _ := p.current(defaultAccount, "feedback0")
					app.warnOfUpstreams("feedback0", found)
				}
			})
		})
	}
}

// BenchmarkRecentAnswers is what a request costs in the cache of sealed answers,
// when it holds few and when it is full.
func BenchmarkRecentAnswers(b *testing.B) {
	body := make([]byte, 200)
	for _, n := range []int{10, recentEntries} {
		b.Run(fmt.Sprintf("entries=%d", n), func(b *testing.B) {
			r := newRecent(n, recentBytes, recentFor)
			now := time.Now()
			var hash [32]byte
			b.ReportAllocs()
			for i := uint64(0); b.Loop(); i++ {
				binary.BigEndian.PutUint64(hash[:], i)
				r.get(hash, now)
				r.put(hash, state.Stored{Status: 200, Body: body}, now)
			}
		})
	}
}
