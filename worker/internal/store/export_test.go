package store

import (
	"context"
	"time"
)

// Look is one look of a Watch.
func (w *Watch) Look(ctx context.Context, now time.Time) error { return w.look(ctx, now) }

// WarnAfter is five minutes otherwise.
func (w *Watch) WarnAfter(d time.Duration) { w.pinnedFor = d }

// SlotAges are those of replication slots.
type SlotAges slotAges

// See is how long a slot has held back xmin.
func (a SlotAges) See(name, xmin string, now time.Time) time.Duration {
	return slotAges(a).see(name, xmin, now)
}
