package logic

import (
	"bytes"
	"regexp"
	"strconv"
	"strings"
)

var yamlError = regexp.MustCompile(`^yaml: (?:line (\d+)(?:, column \d+)?: )?(.*)$`)

// noYAML tells what the YAML parser found wrong. Of tabs and indentation the
// parser says little, and often names the line where the group began.
func (r *reader) noYAML(err error) {
	line, message := 1, err.Error()
	if parts := yamlError.FindStringSubmatch(message); parts != nil {
		if n, err := strconv.Atoi(parts[1]); err == nil {
			line = n
		}
		message = parts[2]
	}
	if strings.Contains(message, "cannot start any token") || strings.Contains(message, "tab character") {
		for at := line; at <= line+1; at++ {
			if before := indentation(r.lines.Line(at)); bytes.IndexByte(before, '\t') >= 0 {
				r.fail(at, bytes.IndexByte(before, '\t')+1, "", "YAML is indented with spaces, here stands a tab")
				return
			}
		}
	}
	if strings.HasPrefix(message, "did not find expected key") || strings.HasPrefix(message, "did not find expected '-'") || strings.HasPrefix(message, "mapping values are not allowed") {
		if at := (&outline{block: -1}).misplaced(r.text); at > 0 {
			r.fail(at, len(indentation(r.lines.Line(at)))+1, "", "this line's indentation fits no line above")
			return
		}
	}
	r.fail(line, 1, "", "this is no valid YAML: "+message)
}

func indentation(line []byte) []byte {
	return line[:len(line)-len(bytes.TrimLeft(line, " \t"))]
}

// outline follows the indentation of a text that is no YAML, to find the line
// that breaks it. It knows as much of YAML as rules are written with.
type outline struct {
	levels []int // indentation of the groups that are open
	opens  bool  // the line before may be followed by a deeper one
	block  int   // indentation that lines of a literal text go beyond; -1: none
	quote  byte  // that is open at the end of a line
	nested int   // brackets that are
}

var (
	opensBlock = regexp.MustCompile(`(?:^|[:-] +)[|>][-+0-9]*\s*(?:#.*)?$`)
	beginsKey  = regexp.MustCompile(`^(?:"[^"]*"|'[^']*'|[^\s"'\[{#][^:#]*):(?:\s|$)`)
	opensGroup = regexp.MustCompile(`(?:^|[:-])\s*(?:#.*)?$`)
)

// misplaced is the first line, from 1, whose indentation fits none above; 0 if
// there is none.
func (o *outline) misplaced(text []byte) int {
	number := 0
	for raw := range bytes.Lines(text) {
		number++
		line := bytes.TrimRight(raw, "\r\n")
		content := bytes.TrimLeft(line, " ")
		indent := len(line) - len(content)
		switch {
		case len(bytes.TrimSpace(content)) == 0, o.block >= 0 && indent > o.block:
			continue
		case o.quote != 0 || o.nested > 0:
			o.read(content)
			continue
		case content[0] == '#':
			continue
		}
		o.block = -1
		if o.wrong(indent, content) {
			return number
		}
	}
	return 0
}

// wrong takes up a line that begins a key, an item or a text.
func (o *outline) wrong(indent int, content []byte) bool {
	dash := bytes.HasPrefix(content, []byte("- ")) || string(content) == "-"
	closed := false
	for len(o.levels) > 0 && o.levels[len(o.levels)-1] > indent {
		o.levels, closed = o.levels[:len(o.levels)-1], true
	}
	fits := len(o.levels) > 0 && o.levels[len(o.levels)-1] == indent
	switch {
	case fits:
	case closed:
		return true
	case len(o.levels) > 0 && !o.opens:
		// A text may go on over several lines.
		return dash || beginsKey.Match(content)
	default:
		o.levels = append(o.levels, indent)
	}
	outer := indent
	for dash {
		after := bytes.TrimLeft(content[1:], " ")
		outer, indent, content = indent, indent+len(content)-len(after), after
		if len(content) == 0 || content[0] == '|' || content[0] == '>' {
			break
		}
		o.levels = append(o.levels, indent)
		dash = bytes.HasPrefix(content, []byte("- "))
		if !dash {
			outer = indent
		}
	}
	if opensBlock.Match(content) {
		o.block = outer
	}
	o.opens = opensGroup.Match(content)
	o.read(content)
	return false
}

// read keeps which quotes and brackets are open after a line.
func (o *outline) read(content []byte) {
	before, last := byte(' '), byte(':') // the byte before, and the last that is no space
	for i := 0; i < len(content); i++ {
		c := content[i]
		value := o.nested > 0 || before == ' ' && (last == ':' || last == '-')
		switch {
		case o.quote == '"' && c == '\\':
			i++
		case o.quote != 0:
			if c == o.quote {
				o.quote = 0
			}
		case c == '#' && before == ' ':
			return
		case (c == '"' || c == '\'') && value && bytes.IndexByte([]byte(" [{,:"), before) >= 0:
			o.quote = c
		case (c == '[' || c == '{') && value:
			o.nested++
		case (c == ']' || c == '}') && o.nested > 0:
			o.nested--
		}
		before = c
		if c != ' ' {
			last = c
		}
	}
}
