package chaos

import (
	"context"
	"slices"
	"strings"
	"time"
)

func soakFaults() []Fault {
	return []Fault{{
		Number: 29, Name: "nothing, for ten minutes", Bound: 0,
		Promise: "memory, goroutines, files and sessions of Postgres are in the end what they were after the first minute",
		Run:     soak,
	}}
}

// soak leaves everything alone under load, and looks whether the worker grows.
func soak(ctx context.Context, s *Scene) error {
	w, err := s.StartWorker(ctx, "one")
	if err != nil {
		return err
	}
	s.Producer.Start(s.Rate())
	if err := s.UnderLoad(ctx); err != nil {
		return err
	}
	window := Pick(s, 2*time.Second, time.Minute)
	if err := pause(ctx, window); err != nil { // caches and pools fill
		return err
	}
	first, err := s.uses(ctx, w, window)
	if err != nil {
		return err
	}
	if err := pause(ctx, Pick(s, 2*time.Second, 7*time.Minute)); err != nil {
		return err
	}
	last, err := s.uses(ctx, w, window)
	if err != nil {
		return err
	}
	for _, u := range usages {
		before, after := first[u.name], last[u.name]
		s.Note("%s: %.4g in the second minute, %.4g in the last (medians)", u.name, before, after)
		// A quarter is what a garbage collector makes of it from one minute to another.
		if after > 1.25*before+u.slack {
			s.Miss("%s grew from %.4g to %.4g", u.name, before, after)
		}
	}
	return s.noDead(ctx)
}

// usages are what a worker may use more and more of.
var usages = []struct {
	name  string
	slack float64
}{{"MB resident", 5}, {"MB of live heap", 5}, {"goroutines", 10}, {"open files", 10}, {"sessions of Postgres", 4}}

// uses looks for a while and returns the median of each.
func (s *Scene) uses(ctx context.Context, w *Worker, window time.Duration) (map[string]float64, error) {
	seen := make(map[string][]float64)
	for until := time.Now().Add(window); time.Now().Before(until); {
		for name, metric := range map[string]string{
			"MB resident": "process_resident_memory_bytes", "MB of live heap": "go_memstats_heap_alloc_bytes",
			"goroutines": "go_goroutines", "open files": "process_open_fds",
		} {
			n, err := w.Metric(ctx, metric)
			if err != nil {
				return nil, err
			}
			if strings.HasPrefix(name, "MB") {
				n /= 1e6
			}
			seen[name] = append(seen[name], n)
		}
		n, err := s.Number(ctx, "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND application_name LIKE 'whatsapp-flows-worker%'")
		if err != nil {
			return nil, err
		}
		seen["sessions of Postgres"] = append(seen["sessions of Postgres"], float64(n))
		if err := pause(ctx, window/30); err != nil {
			return nil, err
		}
	}
	medians := make(map[string]float64, len(seen))
	for name, all := range seen {
		slices.Sort(all)
		medians[name] = all[len(all)/2]
	}
	return medians, nil
}
