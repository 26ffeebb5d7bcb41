package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/flow"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/flow/logic"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/flowjson/validate"
)

type flowsValidate struct {
	Paths  []string `arg:"" help:"Files, directories of flows, or - for the standard input."`
	Format string   `enum:"human,json,github" default:"human" help:"How to print: human, json (Meta's validation_errors for each file) or github (annotations of a workflow)."`
	Expect string   `placeholder:"FILE" help:"Compare with labels instead: lines of path, tab, and valid or the codes of its errors. Paths are below the one directory given."`
}

// Run validates flows. It needs neither Postgres nor Redis.
func (c flowsValidate) Run(p *process) error {
	if c.Expect != "" {
		return compareWithLabels(p.stdout, c.Expect, c.Paths)
	}
	var results []*result
	for _, path := range c.Paths {
		found, err := findDocuments(path)
		if err != nil {
			return err
		}
		for _, d := range found {
			results = append(results, d.check(p.stdin)...)
		}
	}
	if len(results) == 0 {
		return fmt.Errorf("%s holds no flow, expected folders with a flow.json, or .json files", strings.Join(c.Paths, ", "))
	}
	if err := printers[c.Format](p.stdout, results); err != nil {
		return fmt.Errorf("writing the report: %w", err)
	}
	wrong := 0
	for _, r := range results {
		if len(r.errors) > 0 {
			wrong++
		}
	}
	if wrong > 0 {
		return fmt.Errorf("%d of %d files have errors", wrong, len(results))
	}
	return nil
}

// result is what is to be said of one file.
type result struct {
	file      string
	text      []byte
	errors    []validate.Problem
	warnings  []validate.Problem
	truncated bool
}

// What is no problem of the Flow JSON has a code and a type of its own.
const (
	unreadable validate.Code = "UNREADABLE_FILE"
	unrunnable validate.Code = "NOT_RUNNABLE"
	badLogic   validate.Code = "INVALID_LOGIC"
	unexpected validate.Code = "FLOW_WARNING"
)

func (r *result) fail(code validate.Code, kind, message string, at validate.Span, path string) {
	r.errors = append(r.errors, problem(code, kind, message, at, path))
}

func problem(code validate.Code, kind, message string, at validate.Span, path string) validate.Problem {
	return validate.Problem{Error: code, ErrorType: kind, Message: message, Span: at,
		Pointers: []validate.Pointer{{Span: at, Path: path}}}
}

// wholeFile is the place of what is true of no line in particular.
var wholeFile = validate.Span{LineStart: 1, LineEnd: 1, ColumnStart: 1, ColumnEnd: 1}

// check validates the document and, if it has one, its logic. It is empty for a
// .json file that is no flow.
func (d document) check(stdin io.Reader) []*result {
	r := &result{file: d.file}
	text, err := d.read(stdin)
	if err != nil {
		r.fail(unreadable, "FILE_ERROR", reason(err), wholeFile, "")
		return []*result{r}
	}
	if !d.certain && !looksLikeFlow(text) {
		return nil
	}
	report := validate.Flow(text)
	r.text, r.errors, r.warnings, r.truncated = text, report.Errors, report.Warnings, report.Truncated
	l := d.readLogic()
	definition, err := flow.Load(text, l.content())
	var mistakes *logic.Errors
	switch {
	case err == nil && (l == nil || len(l.errors) == 0):
		for _, w := range definition.Warnings() {
			r.warnings = append(r.warnings, problem(unexpected, "ENGINE_WARNING", w, wholeFile, ""))
		}
	case errors.As(err, &mistakes):
		l.failWith(mistakes)
	case err != nil && len(r.errors) == 0:
		r.fail(unrunnable, "ENGINE_ERROR", "Meta may take this flow, but this server cannot run it: "+err.Error(), wholeFile, "")
	}
	if l == nil || err != nil && len(l.errors) == 0 {
		return []*result{r} // logic is read against its flow: without one nothing can be said of it
	}
	return []*result{r, l}
}

// reason is an error without the name of the file, which stands before it.
func reason(err error) string {
	var at *os.PathError
	if errors.As(err, &at) {
		return at.Err.Error()
	}
	return err.Error()
}

// readLogic is nil when no logic stands beside the flow.
func (d document) readLogic() *result {
	if filepath.Base(d.file) != "flow.json" {
		return nil
	}
	dir := filepath.Dir(d.file)
	text, name, err := flow.ReadLogic(os.DirFS(dir), ".")
	if name == "" {
		return nil
	}
	r := &result{file: filepath.Join(dir, name), text: text}
	switch {
	case errors.As(err, new(*os.PathError)):
		r.fail(unreadable, "FILE_ERROR", reason(err), wholeFile, "")
	case err != nil:
		r.fail(badLogic, "LOGIC_ERROR", err.Error(), wholeFile, "")
	}
	return r
}

// content is the text of a file, nothing of one that is not there.
func (r *result) content() []byte {
	if r == nil {
		return nil
	}
	return r.text
}

func (r *result) failWith(mistakes *logic.Errors) {
	for _, m := range mistakes.Problems {
		at := validate.Span{LineStart: m.Line, LineEnd: m.Line, ColumnStart: m.Column, ColumnEnd: m.Column + 1}
		r.fail(badLogic, "LOGIC_ERROR", m.Message, at, m.Path)
	}
	r.truncated = mistakes.More > 0
}
