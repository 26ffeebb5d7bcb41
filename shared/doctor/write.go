package doctor

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"unicode"
)

// The formats of a report.
const (
	FormatText = "text"
	FormatJSON = "json"
)

// Write writes the report in one of the formats.
func (r Report) Write(w io.Writer, format string) error {
	switch format {
	case FormatText:
		return r.writeText(w)
	case FormatJSON:
		return r.writeJSON(w)
	}
	return CheckFormat(format)
}

// CheckFormat is an error for what is no format.
func CheckFormat(format string) error {
	if format == FormatText || format == FormatJSON {
		return nil
	}
	return fmt.Errorf("format is %q, expected %s or %s", format, FormatText, FormatJSON)
}

var labels = map[Status]string{OK: "ok", Skipped: "-", Warn: "WARN", Fail: "FAIL"}

// writeText writes a line for each finding, and below what is wrong its meaning
// and its fix.
func (r Report) writeText(w io.Writer) error {
	var b strings.Builder
	for _, f := range r.Findings {
		fmt.Fprintf(&b, "%-4s  %s: %s\n", labels[f.Status], plain(f.Name), plain(f.Evidence))
		if f.Meaning != "" {
			fmt.Fprintf(&b, "      means: %s\n", plain(f.Meaning))
		}
		if f.Fix != "" {
			fmt.Fprintf(&b, "      fix:   %s\n", plain(f.Fix))
		}
	}
	fmt.Fprintf(&b, "\n%s\n", r.summary())
	_, err := io.WriteString(w, b.String())
	return err
}

func (r Report) summary() string {
	return fmt.Sprintf("%s, %s, %d fine, %d not looked at", counted(r.count(Fail), "failure"), counted(r.count(Warn), "warning"), r.count(OK), r.count(Skipped))
}

func counted(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// plain keeps what others wrote from moving the cursor.
func plain(s string) string {
	s = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, s)
	return strings.Join(strings.Fields(s), " ")
}

// writeJSON writes the report for programs.
func (r Report) writeJSON(w io.Writer) error {
	findings := r.Findings
	if findings == nil {
		findings = []Finding{}
	}
	encoder := json.NewEncoder(w)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	return encoder.Encode(struct {
		Status   Status         `json:"status"` // the worst
		Counts   map[Status]int `json:"counts"`
		Findings []Finding      `json:"findings"`
	}{r.Worst(), map[Status]int{OK: r.count(OK), Skipped: r.count(Skipped), Warn: r.count(Warn), Fail: r.count(Fail)}, findings})
}
