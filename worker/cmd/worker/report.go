package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"
)

// writeJSON writes v for programs.
func writeJSON(w io.Writer, v any) error {
	encoder := json.NewEncoder(w)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	return encoder.Encode(v)
}

// printTable writes rows for people, their columns below the names.
func printTable(w io.Writer, names []string, rows [][]string) error {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, row := range append([][]string{names}, rows...) {
		cells := make([]string, len(row))
		for i, cell := range row {
			cells[i] = plain(cell)
		}
		fmt.Fprintln(table, strings.TrimRight(strings.Join(cells, "\t"), "\t")) //nolint:errcheck // Flush tells
	}
	return table.Flush()
}

// plain is a cell: what others wrote must not move the cursor or the columns.
func plain(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, s)
}

// moment is a time on the command line: RFC 3339, a date, or how long ago.
type moment struct{ time.Time }

// UnmarshalText implements encoding.TextUnmarshaler, for kong.
func (m *moment) UnmarshalText(text []byte) error {
	s := string(text)
	if at, err := time.Parse(time.RFC3339, s); err == nil {
		m.Time = at
		return nil
	}
	if at, err := time.Parse(time.DateOnly, s); err == nil {
		m.Time = at
		return nil
	}
	ago, err := duration(s)
	if err != nil {
		return fmt.Errorf("%q is no time, expected one such as 2026-11-23T08:00:00Z, a date such as 2026-11-23, or how long ago, such as 90m, 24h or 7d", s)
	}
	m.Time = time.Now().Add(-ago)
	return nil
}

// duration reads what time.ParseDuration does, and days.
func duration(s string) (time.Duration, error) {
	days, isDays := strings.CutSuffix(s, "d")
	if isDays {
		s = days + "h"
	}
	d, err := time.ParseDuration(s)
	if err != nil || d < 0 {
		return 0, errors.New("no duration")
	}
	if isDays {
		d *= 24
	}
	return d, nil
}

// order refuses a stretch of time that ends before it begins.
func order(since, until moment) error {
	if !since.IsZero() && !until.IsZero() && !since.Before(until.Time) {
		return fmt.Errorf("--since is %s and --until is %s, expected the earlier one first", since.Format(time.RFC3339), until.Format(time.RFC3339))
	}
	return nil
}

func shortTime(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05") }

func optionalText(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

func optionalNumber(n *int) string {
	if n == nil {
		return ""
	}
	return fmt.Sprint(*n)
}
