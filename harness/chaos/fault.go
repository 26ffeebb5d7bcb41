// Package chaos breaks things on purpose and counts what became of every event.
//
// A Scene is one installation on servers of its own: a real Redis and a real
// Postgres that write to the disk before they answer, real workers, a producer
// that appends entries as an edge does and remembers every one that Redis
// acknowledged, and a receiver that remembers every callback. A Fault is injected
// into it under load. Then the scene is let settle and judged by set algebra:
// what was acknowledged against what is stored, what is stored against what was
// received.
package chaos

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/harness/servers"
)

// Fault is one thing that goes wrong, and what the project promises about it.
type Fault struct {
	Number  int
	Name    string
	Promise string // the bar, in words

	// Bound is how long recovery may take; what is measured from and to is the
	// fault's own business and stands in its Promise. Zero: nothing to recover.
	Bound time.Duration
	// Strict says that Slack does not stretch it: it is the time after which an
	// orchestrator kills.
	Strict bool

	Topology   servers.Topology // of Redis
	Failpoints bool             // the workers stop at failpoints when asked to
	// Interrupted says that Redis itself takes nothing for a while, so that the
	// load cannot be what it is to be.
	Interrupted bool
	// LongOnly says why the fault has no short form; empty when it has one.
	LongOnly string

	// Run starts workers and load, breaks something and waits for recovery. Its
	// error ends the row: nothing can be judged then. A bar that is missed is
	// told to Scene.Miss instead.
	Run func(ctx context.Context, s *Scene) error
}

// All are the faults in the order of their numbers.
func All() []Fault {
	all := slices.Concat(killFaults(), postgresFaults(), redisFaults(), topologyFaults(), networkFaults(), workerFaults(), deliveryFaults(), bothFaults(), soakFaults())
	slices.SortStableFunc(all, func(a, b Fault) int { return a.Number - b.Number })
	return all
}

// Find returns the faults with these numbers, all of them for none.
func Find(numbers []int) ([]Fault, error) {
	all := All()
	if len(numbers) == 0 {
		return all, nil
	}
	var found []Fault
	for _, n := range numbers {
		i := slices.IndexFunc(all, func(f Fault) bool { return f.Number == n })
		if i < 0 {
			return nil, fmt.Errorf("there is no fault %d: they are 1 to %d", n, all[len(all)-1].Number)
		}
		found = append(found, all[i])
	}
	return found, nil
}
