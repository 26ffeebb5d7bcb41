package logic

import (
	"bytes"
	"errors"
	"fmt"
	"unicode/utf8"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/flowjson/jsontree"
)

const (
	// MaxSize bounds a file of rules in bytes.
	MaxSize = 1 << 20

	// maxDepth bounds its nesting. Rules need eight levels, constants a few.
	maxDepth = 24

	// maxNodes bounds its values, so that a hostile file costs little.
	maxNodes = 100_000
)

type kind uint8

const (
	scalar kind = iota // a text, number or boolean
	list
	mapping
	null
)

var kindNames = [...]string{"a value", "a list", "a group of keys", "nothing"}

func (k kind) String() string { return kindNames[k] }

// node is one value of a file of rules, YAML or JSON.
type node struct {
	kind         kind
	line, column int
	path         string
	text         string // of a scalar
	isString     bool   // the scalar is a text, not a number or boolean
	plain        bool   // the text stands in the file as it is, from line and column on
	items        []*node
	members      []member
}

type member struct {
	name         string
	line, column int
	value        *node
}

func (n *node) get(name string) *node {
	for _, m := range n.members {
		if m.name == name {
			return m.value
		}
	}
	return nil
}

// reader turns a text into nodes and collects what is wrong with it.
type reader struct {
	text   []byte
	lines  *jsontree.Lines
	errors *Errors
	nodes  int
	at     cursor
	// stopped says that the file is beyond a limit and reading has ended.
	stopped bool
}

// read takes the text for JSON if it is, else for YAML. It returns nil if that
// fails.
func read(text []byte, errs *Errors) *node {
	errs.File = "logic.yaml"
	r := &reader{text: text, errors: errs, lines: jsontree.NewLines(text)}
	if len(text) > MaxSize {
		r.fail(1, 1, "", fmt.Sprintf("the file has %d bytes, at most %d are allowed", len(text), MaxSize))
		return nil
	}
	if !utf8.Valid(text) {
		r.fail(1, 1, "", "the file is not UTF-8: save it as UTF-8")
		return nil
	}
	if bytes.HasPrefix(bytes.TrimLeft(bytes.TrimPrefix(text, jsontree.ByteOrderMark), " \t\r\n"), []byte("{")) {
		top, err := jsontree.Parse(text)
		if err == nil {
			errs.File = "logic.json"
			return r.fromJSON(top, 0)
		}
		var syntax *jsontree.SyntaxError
		if n := (&reader{text: text, errors: &Errors{}, lines: r.lines}).readYAML(); n == nil && errors.As(err, &syntax) {
			errs.File = "logic.json"
			line, column := r.lines.Place(syntax.Offset)
			r.fail(line, column, "", syntax.Message)
			return nil
		}
	}
	return r.readYAML()
}

func (r *reader) fail(line, column int, path, message string) {
	if r.stopped {
		return
	}
	r.errors.add(Problem{Line: line, Column: column, Path: path, Message: message})
}

// enough says that the file is too large or deep to go on reading.
func (r *reader) enough(line, column int, path string, depth int) bool {
	r.nodes++
	switch {
	case r.stopped:
	case depth > maxDepth:
		r.fail(line, column, path, fmt.Sprintf("nested deeper than %d levels", maxDepth))
		r.stopped = true
	case r.nodes > maxNodes:
		r.fail(line, column, path, fmt.Sprintf("the file has more than %d values", maxNodes))
		r.stopped = true
	}
	return r.stopped
}

// cursor remembers a place of the text. Values are met in the order of the
// text, so going on from the last one keeps a file that is one long line cheap.
type cursor struct {
	line, column int // from 1
	offset       int // in bytes, of that column within the line
	lineStart    int // in bytes
}

// place is line and column of a byte offset.
func (r *reader) place(offset int) (line, column int) {
	c := &r.at
	if c.line == 0 || offset < c.lineStart+c.offset || bytes.IndexByte(r.text[c.lineStart+c.offset:offset], '\n') >= 0 {
		line, column := r.lines.Place(offset)
		start := 1 + bytes.LastIndexByte(r.text[:offset], '\n')
		*c = cursor{line, column, offset - start, start}
		return line, column
	}
	c.column += utf8.RuneCount(r.text[c.lineStart+c.offset : offset])
	c.offset = offset - c.lineStart
	return c.line, c.column
}

// rest is the text of a line from a column on; nil when it has no such column.
func (r *reader) rest(line, column int) []byte {
	c := &r.at
	if c.line != line || c.column > column {
		*c = cursor{line: line, column: 1}
	}
	text := r.lines.Line(line)
	for c.column < column {
		_, size := utf8.DecodeRune(text[min(c.offset, len(text)):])
		if size == 0 {
			return nil
		}
		c.offset += size
		c.column++
	}
	return text[min(c.offset, len(text)):]
}

func (r *reader) fromJSON(from *jsontree.Node, depth int) *node {
	line, column := r.place(from.Start)
	n := &node{line: line, column: column, path: from.Path()}
	if r.enough(line, column, n.path, depth) {
		return n
	}
	switch from.Kind {
	case jsontree.Null:
		n.kind = null
	case jsontree.Object:
		n.kind = mapping
		for _, m := range from.Members {
			line, column := r.place(m.Start)
			r.addMember(n, member{m.Name, line, column, r.fromJSON(m.Value, depth+1)})
		}
	case jsontree.Array:
		n.kind = list
		for _, item := range from.Items {
			n.items = append(n.items, r.fromJSON(item, depth+1))
		}
	default:
		n.text, n.isString = from.Text, from.Kind == jsontree.String
		n.plain = !n.isString
		if n.isString && string(r.text[from.Start+1:from.End-1]) == n.text {
			n.plain, n.column = true, column+1
		}
	}
	return n
}

func (r *reader) addMember(n *node, m member) {
	for _, before := range n.members {
		if before.name == m.name {
			r.fail(m.line, m.column, m.value.path, fmt.Sprintf("%s stands here twice, first on line %d", clip(m.name), before.line))
			return
		}
		if len(n.members) > 1000 {
			r.fail(m.line, m.column, m.value.path, "more than 1000 keys in one place")
			r.stopped = true
			return
		}
	}
	n.members = append(n.members, m)
}

// place is where character column, from 0, of line, from 1, of a text stands
// in the file.
func (n *node) place(line, column int) (int, int) {
	if !n.plain || line < 1 || column < 0 {
		return n.line, n.column
	}
	// Further lines of a literal block are indented as the first is.
	return n.line + line - 1, n.column + column
}
