// Package doctor is what the edge's and the worker's `doctor` have in common: a
// check, what it finds, and the report of all of them.
//
// A check looks and never changes anything. What it finds says what was seen,
// what that means for the people who use the flows, and what to do. Nothing
// secret is in a finding: checks leave it out, and Report.Hide takes out what
// another program's message may have repeated.
package doctor

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"
)

// Status is how bad a finding is.
type Status string

// The statuses, from the best to the worst.
const (
	OK      Status = "ok"
	Skipped Status = "skipped" // it could not be looked at, or there was no reason to
	Warn    Status = "warn"    // it works, but not as it should, or not for long
	Fail    Status = "fail"    // users or data suffer
)

var order = []Status{OK, Skipped, Warn, Fail}

func (s Status) rank() int { return slices.Index(order, s) }

// Worse says whether it is worse than another.
func (s Status) Worse(than Status) bool { return s.rank() > than.rank() }

// Finding is what was found about one thing.
type Finding struct {
	Name     string `json:"name"` // what was looked at: "redis: eviction policy"
	Status   Status `json:"status"`
	Evidence string `json:"evidence"`          // what was seen
	Meaning  string `json:"meaning,omitempty"` // of a warning or failure: who suffers, and how
	Fix      string `json:"fix,omitempty"`     // of a warning or failure: what to do
}

// Check looks at one thing, or at several that belong together.
type Check struct {
	Name string // of the finding that there is when the check comes to no end
	// Within is how long it may take; 0 is 15 seconds.
	Within time.Duration
	// Run should return soon after its context has ended; if it does not it is left
	// behind.
	Run func(context.Context) []Finding
}

const (
	usualDeadline = 15 * time.Second
	// grace is what a check has after its deadline to say how far it came.
	grace = 2 * time.Second
)

// Examine runs the checks side by side, each with its own deadline. Findings come
// in the order of the checks.
func Examine(ctx context.Context, checks ...Check) Report {
	found := make([][]Finding, len(checks))
	var all sync.WaitGroup
	for i, check := range checks {
		all.Go(func() { found[i] = check.run(ctx) })
	}
	all.Wait()
	return Report{Findings: slices.Concat(found...)}
}

func (c Check) run(ctx context.Context) []Finding {
	within := c.Within
	if within <= 0 {
		within = usualDeadline
	}
	limited, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	if found := c.await(limited); len(found) > 0 {
		return found
	}
	switch {
	case ctx.Err() != nil:
		return []Finding{Failed(c.Name, "doctor was stopped before this came to an end", "nothing can be said about it", "run doctor again")}
	case limited.Err() != nil:
		return []Finding{Failed(c.Name, fmt.Sprintf("no answer within %s", within), "nothing can be said about it", "run doctor again; if it stays, look at what is between")}
	}
	return nil
}

// await is what the check finds; nil of one that does not heed the end of its
// context: what some libraries wait for ends only with the process.
func (c Check) await(limited context.Context) []Finding {
	found := make(chan []Finding, 1)
	go func() { found <- c.Run(limited) }()
	select {
	case all := <-found:
		return all
	case <-limited.Done():
	}
	last := time.NewTimer(grace)
	defer last.Stop()
	select {
	case all := <-found:
		return all
	case <-last.C:
		return nil
	}
}

// Fine is a finding without a fault.
func Fine(name, evidence string, values ...any) Finding {
	return Finding{Name: name, Status: OK, Evidence: text(evidence, values)}
}

// Skip is a finding about what was not looked at; reason says why.
func Skip(name, reason string, values ...any) Finding {
	return Finding{Name: name, Status: Skipped, Evidence: text(reason, values)}
}

// Warned is a finding of something that should be better.
func Warned(name, evidence, meaning, fix string) Finding {
	return Finding{Name: name, Status: Warn, Evidence: evidence, Meaning: meaning, Fix: fix}
}

// Failed is a finding of something that must be mended.
func Failed(name, evidence, meaning, fix string) Finding {
	return Finding{Name: name, Status: Fail, Evidence: evidence, Meaning: meaning, Fix: fix}
}

func text(format string, values []any) string {
	if len(values) == 0 {
		return format
	}
	return fmt.Sprintf(format, values...)
}

// Report is all that was found.
type Report struct {
	Findings []Finding
}

// Add appends what another examination found.
func (r *Report) Add(other Report) { r.Findings = append(r.Findings, other.Findings...) }

// Find returns the finding of that name; its status is Skipped if there is none.
func (r Report) Find(name string) Finding {
	for _, f := range r.Findings {
		if f.Name == name {
			return f
		}
	}
	return Finding{Name: name, Status: Skipped}
}

// Worst is the worst status of all.
func (r Report) Worst() Status {
	worst := OK
	for _, f := range r.Findings {
		if f.Status.rank() > worst.rank() && f.Status != Skipped {
			worst = f.Status
		}
	}
	return worst
}

// ExitCode is 0 when nothing is wrong, 1 with warnings, 2 with failures. What was
// skipped does not count.
func (r Report) ExitCode() int {
	switch r.Worst() {
	case Fail:
		return 2
	case Warn:
		return 1
	}
	return 0
}

func (r Report) count(s Status) (n int) {
	for _, f := range r.Findings {
		if f.Status == s {
			n++
		}
	}
	return n
}

// shortestSecret is what Hide takes out at least: a shorter one stands in other
// words too.
const shortestSecret = 6

// Hide takes secrets out of what other programs said.
func (r Report) Hide(secrets ...string) {
	var pairs []string
	for _, secret := range secrets {
		if len(secret) >= shortestSecret {
			pairs = append(pairs, secret, "[secret]")
		}
	}
	hide := strings.NewReplacer(pairs...)
	for i := range r.Findings {
		f := &r.Findings[i]
		f.Evidence, f.Meaning, f.Fix = hide.Replace(f.Evidence), hide.Replace(f.Meaning), hide.Replace(f.Fix)
	}
}
