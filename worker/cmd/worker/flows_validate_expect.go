package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/flowjson/validate"
)

// label is what a person says of a document.
type label struct {
	path  string // below the directory, with slashes
	codes []string
}

func (l label) String() string {
	if len(l.codes) == 0 {
		return "valid"
	}
	return strings.Join(l.codes, ",")
}

// agrees says whether the report on a document fits: none of the errors of a
// valid one, all the codes of another one.
func (l label) agrees(got []string) bool {
	if len(l.codes) == 0 {
		return len(got) == 0
	}
	return !slices.ContainsFunc(l.codes, func(code string) bool { return !slices.Contains(got, code) })
}

// readLabels reads lines of a path, a tab, and valid or codes separated by
// commas; what follows another tab is for people.
func readLabels(file string) ([]label, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("reading the labels: %w", err)
	}
	var labels []label
	for i, line := range strings.Split(string(text), "\n") {
		line = strings.TrimSuffix(line, "\r")
		if strings.TrimSpace(line) == "" || strings.HasPrefix(line, "#") {
			continue
		}
		columns := strings.Split(line, "\t")
		if len(columns) < 2 || columns[0] == "" || columns[1] == "" {
			return nil, fmt.Errorf("%s:%d: expected a path, a tab, and valid or codes, got %q", file, i+1, line)
		}
		l := label{path: filepath.ToSlash(columns[0])}
		if columns[1] != "valid" {
			l.codes = strings.Split(columns[1], ",")
		}
		if slices.ContainsFunc(labels, func(other label) bool { return other.path == l.path }) {
			return nil, fmt.Errorf("%s:%d: %s is labelled twice", file, i+1, l.path)
		}
		labels = append(labels, l)
	}
	return labels, nil
}

// compareWithLabels prints a table of what people and the validator say. What
// they say differently is an error, as is a document without a label.
func compareWithLabels(stdout io.Writer, file string, paths []string) error {
	if len(paths) != 1 {
		return errors.New("--expect compares the documents of one directory, got several paths")
	}
	labels, err := readLabels(file)
	if err != nil {
		return err
	}
	documents, err := findDocuments(paths[0])
	if err != nil {
		return err
	}
	table := tabwriter.NewWriter(stdout, 0, 8, 2, ' ', 0)
	differ := 0
	row := func(path, expected, got string, agrees bool) {
		verdict := "agrees"
		if !agrees {
			verdict = "DIFFERS"
			differ++
		}
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\n", printable(path), verdict, printable(expected), got) //nolint:errcheck // Flush says it
	}
	seen := map[string]bool{}
	for _, d := range documents {
		path, err := filepath.Rel(paths[0], d.file)
		if err != nil {
			return err
		}
		path = filepath.ToSlash(path)
		text, err := d.read(nil)
		if err != nil {
			return fmt.Errorf("%s: %w", d.file, err)
		}
		i := slices.IndexFunc(labels, func(l label) bool { return l.path == path })
		if i < 0 && !looksLikeFlow(text) {
			continue
		}
		seen[path] = true
		got := codes(validate.Flow(text))
		said := label{codes: got}.String()
		if i < 0 {
			row(path, "no label", said, false)
			continue
		}
		row(path, labels[i].String(), said, labels[i].agrees(got))
	}
	for _, l := range labels {
		if !seen[l.path] {
			row(l.path, l.String(), "no such document", false)
			seen[l.path] = true
		}
	}
	if err := table.Flush(); err != nil {
		return fmt.Errorf("writing the table: %w", err)
	}
	if differ > 0 {
		return fmt.Errorf("%d of %d documents differ from their labels", differ, len(seen))
	}
	_, err = fmt.Fprintf(stdout, "all %d documents agree with their labels\n", len(seen))
	return err
}

// codes are those of a report's errors, each once.
func codes(report *validate.Report) []string {
	var list []string
	for _, p := range report.Errors {
		if !slices.Contains(list, string(p.Error)) {
			list = append(list, string(p.Error))
		}
	}
	return list
}
