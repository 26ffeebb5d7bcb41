package gotest

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
)

// event is one line of `go test -json` (go doc test2json).
type event struct {
	Action     string
	Package    string
	Test       string
	Output     string
	ImportPath string // of a build event
}

// Report reads the events of one go test and shows a line for each package, the
// output of what failed, and a closing line "N passed, N failed".
type Report struct {
	w       io.Writer
	output  map[string][]string // by package and test, until it passed
	passed  int
	failed  []string
	skipped []string
}

// NewReport writes to w.
func NewReport(w io.Writer) *Report { return &Report{w: w, output: map[string][]string{}} }

// Read takes events until r ends. A line that is no event is shown as it is.
func (r *Report) Read(in io.Reader) error {
	lines := bufio.NewReader(in)
	for {
		line, err := lines.ReadBytes('\n')
		if len(line) > 0 {
			var e event
			if line[0] != '{' || json.Unmarshal(line, &e) != nil || e.Action == "" {
				fmt.Fprint(r.w, string(line))
			} else {
				r.take(e)
			}
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

func (r *Report) take(e event) {
	key := e.Package + "\x00" + e.Test
	switch e.Action {
	case "build-output":
		fmt.Fprint(r.w, e.Output)
	case "output":
		r.output[key] = append(r.output[key], e.Output)
	case "pass":
		if e.Test != "" {
			r.passed++
		} else {
			r.showSummary(key)
		}
		delete(r.output, key)
	case "fail":
		if e.Test != "" {
			r.failed = append(r.failed, e.Package+" "+e.Test)
		} else if !slices.ContainsFunc(r.failed, func(f string) bool { return strings.HasPrefix(f, e.Package+" ") }) {
			// It did not build, or ended outside of any test.
			r.failed = append(r.failed, e.Package)
		}
		for _, line := range r.output[key] {
			fmt.Fprint(r.w, line)
		}
		delete(r.output, key)
	case "skip":
		if e.Test != "" {
			r.skipped = append(r.skipped, e.Package+" "+e.Test)
			for _, line := range r.output[key] {
				fmt.Fprint(r.w, line)
			}
		}
		delete(r.output, key)
	}
}

// showSummary prints the line "ok  <package> <time>" among a package's output.
func (r *Report) showSummary(key string) {
	for _, line := range r.output[key] {
		if strings.HasPrefix(line, "ok ") {
			fmt.Fprint(r.w, line)
		}
	}
}

// Close shows what failed and what was skipped and the closing line. It fails
// if there was any, or if nothing ran at all.
func (r *Report) Close() error {
	for _, name := range r.failed {
		fmt.Fprintln(r.w, "failed:", name)
	}
	for _, name := range r.skipped {
		fmt.Fprintln(r.w, "skipped, which counts as a failure:", name)
	}
	fmt.Fprintf(r.w, "%d passed, %d failed\n", r.passed, len(r.failed)+len(r.skipped))
	switch {
	case len(r.failed) > 0:
		return fmt.Errorf("%d tests or packages failed", len(r.failed))
	case len(r.skipped) > 0:
		return fmt.Errorf("%d tests were skipped: nothing may be", len(r.skipped))
	case r.passed == 0:
		return errors.New("no test ran")
	}
	return nil
}
