package main

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/width"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/flowjson/jsontree"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/flowjson/validate"
)

// printHuman prints each problem with the line it is on.
func printHuman(to io.Writer, results []*result) error {
	w := bufio.NewWriter(to)
	for _, r := range results {
		lines := jsontree.NewLines(r.text)
		for _, p := range r.errors {
			printProblem(w, r.file, "error", p, lines)
		}
		for _, p := range r.warnings {
			printProblem(w, r.file, "warning", p, lines)
		}
		if r.truncated {
			fmt.Fprintf(w, "%s: there are more problems than are shown\n", printable(r.file)) //nolint:errcheck // Flush says it
		}
		if len(r.errors) == 0 {
			fmt.Fprintf(w, "%s: valid%s\n", printable(r.file), counted(len(r.warnings))) //nolint:errcheck // Flush says it
		}
	}
	return w.Flush()
}

func counted(warnings int) string {
	switch warnings {
	case 0:
		return ""
	case 1:
		return ", 1 warning"
	}
	return fmt.Sprintf(", %d warnings", warnings)
}

func printProblem(w io.Writer, file, kind string, p validate.Problem, lines *jsontree.Lines) {
	fmt.Fprintf(w, "%s:%d:%d: %s %s %s\n", printable(file), p.LineStart, p.ColumnStart, kind, p.Error, printable(p.Message)) //nolint:errcheck // Flush says it
	line := lines.Line(p.LineStart)
	if p.Span == wholeFile || len(bytes.TrimSpace(line)) == 0 {
		return
	}
	end := p.ColumnEnd
	if p.LineEnd != p.LineStart {
		end = 1 << 30 // to the end of the line
	}
	text, mark := excerpt(line, p.ColumnStart, end)
	gutter := fmt.Sprintf("%5d", p.LineStart)
	fmt.Fprintf(w, "%s | %s\n%s | %s\n", gutter, text, strings.Repeat(" ", len(gutter)), mark) //nolint:errcheck // Flush says it
}

// Of a long line only what is around the mark is shown, and of a long mark only
// its beginning.
const (
	excerptBefore = 40
	excerptAfter  = 60
	tab           = "    "
)

// excerpt is a line as a terminal shows it, clipped, and carets under its
// characters from one column up to another, not included; columns count
// characters from 1.
func excerpt(line []byte, from, to int) (text, mark string) {
	to = max(to, from+1)
	first := max(from-excerptBefore, 1)
	var shown, below strings.Builder
	if first > 1 {
		shown.WriteString("…")
		below.WriteByte(' ')
	}
	column := 0
	for len(line) > 0 {
		r, size := utf8.DecodeRune(line)
		line = line[size:]
		column++
		if column < first {
			continue
		}
		if column > from+excerptAfter {
			shown.WriteString("…")
			break
		}
		cell := printableRune(r)
		shown.WriteString(cell)
		under := byte(' ')
		if column >= from && column < to {
			under = '^'
		}
		for range cells(cell) {
			below.WriteByte(under)
		}
	}
	if column < from { // the place is the end of the line
		below.WriteByte('^')
	}
	return shown.String(), strings.TrimRight(below.String(), " ")
}

// printableRune keeps a file from commanding the terminal that shows it.
func printableRune(r rune) string {
	switch {
	case r == '\t':
		return tab
	case r == utf8.RuneError || !unicode.IsPrint(r) && !unicode.Is(unicode.Mn, r):
		return "·"
	}
	return string(r)
}

// printable is text on one line, without what a terminal takes as a command.
func printable(text string) string {
	var b strings.Builder
	for _, r := range text {
		if r == '\n' || r == '\t' {
			r = ' '
		}
		b.WriteString(printableRune(r))
	}
	return b.String()
}

// cells is how much room a terminal gives to text: two places to Chinese,
// Japanese, Korean and most emoji, none to combining marks.
func cells(text string) int {
	n := 0
	for _, r := range text {
		switch kind := width.LookupRune(r).Kind(); {
		case unicode.Is(unicode.Mn, r):
		case kind == width.EastAsianWide || kind == width.EastAsianFullwidth:
			n += 2
		default:
			n++
		}
	}
	return n
}
