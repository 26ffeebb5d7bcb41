package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"strings"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/flowjson/validate"
)

// printers are the formats by name.
var printers = map[string]func(io.Writer, []*result) error{
	"human":  printHuman,
	"json":   printJSON,
	"github": printGitHub,
}

// fileReport is one element of the JSON report. Problems have the shape of
// Meta's validation_errors.
type fileReport struct {
	File      string             `json:"file"`
	Valid     bool               `json:"valid"`
	Errors    []validate.Problem `json:"errors"`
	Warnings  []validate.Problem `json:"warnings"`
	Truncated bool               `json:"truncated,omitempty"`
}

func printJSON(w io.Writer, results []*result) error {
	reports := make([]fileReport, 0, len(results))
	for _, r := range results {
		reports = append(reports, fileReport{
			File: r.file, Valid: len(r.errors) == 0, Truncated: r.truncated,
			Errors: append([]validate.Problem{}, r.errors...), Warnings: append([]validate.Problem{}, r.warnings...),
		})
	}
	encoder := json.NewEncoder(w)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	return encoder.Encode(reports)
}

// printGitHub prints workflow commands (GitHub: "Workflow commands", setting an
// error message), which show at the lines of a pull request.
func printGitHub(to io.Writer, results []*result) error {
	w := bufio.NewWriter(to)
	for _, r := range results {
		for _, p := range r.errors {
			annotate(w, "error", r.file, p)
		}
		for _, p := range r.warnings {
			annotate(w, "warning", r.file, p)
		}
	}
	return w.Flush()
}

func annotate(w io.Writer, kind, file string, p validate.Problem) {
	place := fmt.Sprintf("line=%d,endLine=%d", p.LineStart, p.LineEnd)
	if p.LineEnd == p.LineStart { // GitHub refuses columns for several lines
		place = fmt.Sprintf("line=%d,col=%d,endColumn=%d", p.LineStart, p.ColumnStart, p.ColumnEnd)
	}
	fmt.Fprintf(w, "::%s file=%s,%s,title=%s::%s\n", kind, property.Replace(file), place, property.Replace(string(p.Error)), message.Replace(p.Message)) //nolint:errcheck // Flush says it
}

// What ends a message or a property is written as a percent code.
var (
	message  = strings.NewReplacer("%", "%25", "\r", "%0D", "\n", "%0A")
	property = strings.NewReplacer("%", "%25", "\r", "%0D", "\n", "%0A", ":", "%3A", ",", "%2C")
)
