package ingest

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/event"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/worker/internal/stream"
)

// key is a row of event_keys: what has been stored already.
type key struct{ account, kind, dedup string }

// Kinds of keys besides those of event.Kind.
const (
	keyMessage = "message" // wamid: two webhooks may carry the same message
	keyStatus  = "status"  // see statusKey
)

// token is a usable flow token, by which a session and an answer meet.
type token struct{ account, hash string }

// params is what a stateless step and the answer it led to have in common.
type params struct{ account, hash string }

// gathered is a batch taken apart, before anything is known of the database.
type gathered struct {
	hooks []*hook // no two with the same key
	steps []*step // no two with the same key
	dead  []stream.Dead

	keys    map[key]struct{} // of hooks, steps and the messages in hooks
	repeats map[string]int   // by kind of key: occurrences inside the batch after the first
	sources sources

	// tokens and params are of every entry, stored before or not: what was
	// committed but not acknowledged may still have to meet its other half.
	tokens map[token]struct{}
	params map[params]struct{}

	collided bool // an earlier try met rows that were there already
}

// gather decodes entries. It is pure but for the ids it makes.
func (w *Writer) gather(entries []stream.Entry) *gathered {
	g := &gathered{
		keys: make(map[key]struct{}, 2*len(entries)), repeats: make(map[string]int), sources: make(sources),
		tokens: make(map[token]struct{}), params: make(map[params]struct{}),
	}
	now := time.Now()
	for _, e := range entries {
		g.sources.see(e)
		err := e.Problem
		if err == nil {
			err = checkEntry(e.Event)
		}
		if err == nil {
			switch e.Event.Kind {
			case event.KindWebhook:
				g.addHook(newHook(newID(), e.Event, w.config.Accounts, now))
			case event.KindMark:
			default:
				err = g.addStep(e.Event, now)
			}
		}
		if err != nil {
			g.dead = append(g.dead, stream.Dead{Entry: e, Reason: clean(err.Error())})
		}
	}
	return g
}

// checkEntry refuses what no edge writes and no column holds.
func checkEntry(e event.Entry) error {
	if y := e.Time.Year(); y < 2000 || y > 9999 {
		return fmt.Errorf("field ts is %d, expected milliseconds since the Unix epoch of the years 2000 to 9999", e.Time.UnixMilli())
	}
	return nil
}

// partitionTime is the time by which a row is partitioned: the edge's, unless
// its clock is more than a day ahead, where no partition is.
func partitionTime(at, now time.Time) time.Time {
	if at.After(now.Add(24 * time.Hour)) {
		return now.UTC()
	}
	return at
}

// take claims a key for its first occurrence in the batch.
func (g *gathered) take(k key) bool {
	if _, taken := g.keys[k]; taken {
		g.repeats[k.kind]++
		return false
	}
	g.keys[k] = struct{}{}
	return true
}

func (g *gathered) addHook(h *hook) {
	for _, m := range h.messages {
		if m.answer != nil {
			g.expect(m.answer)
		}
	}
	if !g.take(h.key) {
		return
	}
	for _, m := range h.messages {
		if m.key != (key{}) && !g.take(m.key) {
			m.repeated = true
		}
	}
	g.hooks = append(g.hooks, h)
}

// expect notes what an answer may have to be joined with.
func (g *gathered) expect(a *answer) {
	if a.tokenHash != "" {
		g.tokens[token{a.account, a.tokenHash}] = struct{}{}
	} else if a.paramsHash != "" {
		g.params[params{a.account, a.paramsHash}] = struct{}{}
	}
}

func (g *gathered) addStep(e event.Entry, now time.Time) error {
	s, err := newStep(e, now)
	if err != nil {
		return err
	}
	if s.tokenHash != "" {
		g.tokens[token{s.account, s.tokenHash}] = struct{}{}
	} else if s.paramsHash != "" {
		g.params[params{s.account, s.paramsHash}] = struct{}{}
	}
	if g.take(s.key) {
		g.steps = append(g.steps, s)
	}
	return nil
}

// sortedKeys is the order in which every transaction takes its keys, so that
// two that share some wait for each other and never deadlock.
func (g *gathered) sortedKeys() []key {
	all := make([]key, 0, len(g.keys))
	for k := range g.keys {
		all = append(all, k)
	}
	slices.SortFunc(all, func(a, b key) int {
		return cmp.Or(cmp.Compare(a.account, b.account), cmp.Compare(a.kind, b.kind), cmp.Compare(a.dedup, b.dedup))
	})
	return all
}

// fields is a dead entry as dead_entries keeps it: name to base64 of the bytes.
func fields(e stream.Entry) []byte {
	all := make(map[string][]byte, len(e.Fields))
	for name, v := range e.Fields {
		s, _ := v.(string)
		all[name] = []byte(s)
	}
	encoded, err := json.Marshal(all)
	if err != nil {
		panic(fmt.Sprintf("ingest: encoding the fields of a dead entry: %v", err)) // strings and bytes always encode
	}
	return encoded
}
