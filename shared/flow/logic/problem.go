package logic

import (
	"fmt"
	"strings"
)

// maxProblems bounds how many mistakes of one file are told.
const maxProblems = 100

// Problem is one mistake in a file of rules.
type Problem struct {
	Line, Column int    // from 1; columns count characters
	Path         string // "screens.RECOMMEND.check[0].unless"
	Message      string
}

// Errors are all mistakes of a file.
type Errors struct {
	File     string // as it is printed; Compile says logic.yaml or logic.json
	Problems []Problem
	More     int // over 0 when there may be others than those in Problems
}

// Error prints one mistake a line: file:line:column: message.
func (e *Errors) Error() string {
	var b strings.Builder
	for i, p := range e.Problems {
		if i > 0 {
			b.WriteByte('\n')
		}
		fmt.Fprintf(&b, "%s:%d:%d: %s", e.File, p.Line, p.Column, p.Message)
	}
	if e.More > 0 {
		fmt.Fprintf(&b, "\n%s: there may be more mistakes: mend these first", e.File)
	}
	return b.String()
}

func (e *Errors) add(p Problem) {
	if e.full() {
		e.More++
		return
	}
	e.Problems = append(e.Problems, p)
}

func (e *Errors) full() bool { return len(e.Problems) == maxProblems }

// didYouMean is the end of a sentence that names the one of known that name
// may be a slip of, or nothing.
func didYouMean(name string, known []string) string {
	best, bestDistance := "", 3
	if len(name) < 5 {
		bestDistance = 2 // of short names two edits make anything
	}
	for _, k := range known {
		if d := distance(strings.ToLower(name), strings.ToLower(k), bestDistance); d < min(bestDistance, len(name), len(k)) {
			best, bestDistance = k, d
		}
	}
	if best == "" {
		return ""
	}
	return ", did you mean " + best + "?"
}

// distance is the number of edits between two names, or limit if it is not
// less.
func distance(a, b string, limit int) int {
	if len(a) > 64 || len(b) > 64 || len(a)-len(b) >= limit || len(b)-len(a) >= limit {
		return limit
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			next := min(row[j]+1, row[j+1]+1, diagonal+btoi(a[i] != b[j]))
			diagonal, row[j+1] = row[j+1], next
		}
	}
	return min(row[len(b)], limit)
}

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}

// listed is "a, b, c", or nothing.
func listed(names []string, nothing string) string {
	if len(names) == 0 {
		return nothing
	}
	const most = 30
	if len(names) > most {
		return strings.Join(names[:most], ", ") + fmt.Sprintf(" and %d more", len(names)-most)
	}
	return strings.Join(names, ", ")
}

// clip bounds what a message repeats of a name that may be anything.
func clip(s string) string {
	const limit = 64
	if len(s) > limit {
		return strings.ToValidUTF8(s[:limit], "") + "…"
	}
	return s
}
