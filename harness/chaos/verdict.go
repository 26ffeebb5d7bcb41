package chaos

import (
	"fmt"
	"io"
	"text/tabwriter"
	"time"
)

// Verdict is what one row of the table says.
type Verdict struct {
	Number  int    `json:"number"`
	Name    string `json:"name"`
	Promise string `json:"promise"`

	Events         int           `json:"events"`          // acknowledged by Redis
	Lost           int           `json:"lost"`            // of these, not stored
	Taken          bool          `json:"taken,omitempty"` // what is lost was taken away by the fault itself, and is accounted for
	Doubled        int           `json:"doubled"`         // rows there should not be
	DuplicatePosts int           `json:"duplicate_posts"` // to a receiver that had said 2xx
	Expired        int           `json:"expired"`         // leases that ran out
	Rate           float64       `json:"rate"`            // events a second that were appended under load
	Nominal        float64       `json:"nominal"`         // and that were to be; 0: the row has no steady load
	Recovery       time.Duration `json:"recovery"`        // the longest one measured
	Bound          time.Duration `json:"bound"`           // of recovery; 0: none
	Took           time.Duration `json:"took"`            // the whole row

	// Missed are the bars that were missed, each in a sentence. Notes are what
	// else was measured.
	Missed []string `json:"missed,omitempty"`
	Notes  []string `json:"notes,omitempty"`
	Error  string   `json:"error,omitempty"` // the row could not be run to its end
}

// OK says that every bar was met.
func (v Verdict) OK() bool { return v.Error == "" && len(v.Missed) == 0 }

// Print writes verdicts as a table, and below it what was missed and noted.
func Print(w io.Writer, verdicts []Verdict) error {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "#\tfault\tevents\tlost\tdoubled rows\tduplicate POSTs\trecovery\tbound\tverdict")
	for _, v := range verdicts {
		verdict := "ok"
		if !v.OK() {
			verdict = "MISSED"
		}
		lost := fmt.Sprint(v.Lost)
		if v.Taken {
			lost += " taken away"
		}
		fmt.Fprintf(table, "%d\t%s\t%d\t%s\t%d\t%d\t%s\t%s\t%s\n",
			v.Number, v.Name, v.Events, lost, v.Doubled, v.DuplicatePosts, duration(v.Recovery), duration(v.Bound), verdict)
	}
	if err := table.Flush(); err != nil {
		return err
	}
	for _, v := range verdicts {
		if v.OK() && len(v.Notes) == 0 {
			continue
		}
		fmt.Fprintf(w, "\n%d %s. Promise: %s\n", v.Number, v.Name, v.Promise)
		if v.Error != "" {
			fmt.Fprintln(w, "  not run to its end:", v.Error)
		}
		for _, m := range v.Missed {
			fmt.Fprintln(w, "  missed:", m)
		}
		for _, n := range v.Notes {
			fmt.Fprintln(w, "  noted:", n)
		}
	}
	return nil
}

func duration(d time.Duration) string {
	switch {
	case d == 0:
		return "-"
	case d < time.Second:
		return d.Round(time.Millisecond).String()
	}
	return d.Round(10 * time.Millisecond).String()
}
