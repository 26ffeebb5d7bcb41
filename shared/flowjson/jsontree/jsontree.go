// Package jsontree reads JSON into a tree whose every value knows its place in
// the text, for messages that point at it.
package jsontree

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"
)

// Kind is the JSON type of a value.
type Kind uint8

// The JSON types.
const (
	Null Kind = iota
	Boolean
	Number
	String
	Array
	Object
)

var kindNames = [...]string{"null", "boolean", "number", "string", "array", "object"}

func (k Kind) String() string { return kindNames[k] }

// Node is one value of a document.
type Node struct {
	Kind Kind
	// Start and End are byte offsets: the value is text[Start:End].
	Start, End int
	// Text is a string as it reads, without quotes and escapes; of a number or
	// boolean it is the literal.
	Text string
	// Members are those of an object in the order of the text, names that come
	// twice included.
	Members []Member
	Items   []*Node

	// Parent is nil at the top. Name is this value's key if the parent is an
	// object, Index its place if the parent is an array.
	Parent *Node
	Name   string
	Index  int
}

// Member is one name and value of an object.
type Member struct {
	Name       string
	Start, End int // of the name, quotes included
	Value      *Node
}

// Get returns the value under a name, the last one if it comes twice, or nil:
// of nil, and of what is no object, too.
func (n *Node) Get(name string) *Node {
	if n == nil {
		return nil
	}
	for i := len(n.Members) - 1; i >= 0; i-- {
		if n.Members[i].Name == name {
			return n.Members[i].Value
		}
	}
	return nil
}

// Member returns the member of a name, the last one if it comes twice, or nil.
func (n *Node) Member(name string) *Member {
	if n == nil {
		return nil
	}
	for i := len(n.Members) - 1; i >= 0; i-- {
		if n.Members[i].Name == name {
			return &n.Members[i]
		}
	}
	return nil
}

// Is says whether n is there and of that kind.
func (n *Node) Is(kind Kind) bool { return n != nil && n.Kind == kind }

// True says whether n is the boolean true.
func (n *Node) True() bool { return n.Is(Boolean) && n.Text == "true" }

// Path is the place of n as Meta writes it: screens[0].layout.children[2].label.
// It is empty at the top. Names of unreasonable length are cut.
func (n *Node) Path() string {
	var steps []*Node
	for at := n; at != nil && at.Parent != nil; at = at.Parent {
		steps = append(steps, at)
	}
	var b strings.Builder
	for i := len(steps) - 1; i >= 0; i-- {
		if steps[i].Parent.Kind == Array {
			b.WriteByte('[')
			b.WriteString(strconv.Itoa(steps[i].Index))
			b.WriteByte(']')
			continue
		}
		if b.Len() > 0 {
			b.WriteByte('.')
		}
		b.WriteString(cut(steps[i].Name))
	}
	return b.String()
}

// cut keeps the paths of a document whose names are megabytes long from becoming
// larger than the document.
func cut(name string) string {
	const limit = 128
	if len(name) <= limit {
		return name
	}
	end := limit
	for !utf8.RuneStart(name[end]) {
		end--
	}
	return name[:end] + "…"
}

// MaxDepth bounds nesting. The deepest document Meta's rules allow, data models
// within data models aside, has some twenty levels.
const MaxDepth = 128

// SyntaxError says where a text stops being JSON.
type SyntaxError struct {
	Offset  int // in bytes
	Message string
}

func (e *SyntaxError) Error() string { return e.Message }

// ByteOrderMark may stand before the text, as some editors put it there.
var ByteOrderMark = []byte("\xef\xbb\xbf")

// Parse reads one JSON value. Offsets are those of text, a byte order mark
// included. The error is a *SyntaxError.
func Parse(text []byte) (*Node, error) {
	base := 0
	if bytes.HasPrefix(text, ByteOrderMark) {
		base = len(ByteOrderMark)
	}
	p := parser{base: base, text: text}
	p.decoder = jsontext.NewDecoder(bytes.NewBuffer(text[base:len(text):len(text)]), jsontext.AllowDuplicateNames(true))
	top, err := p.value(nil, 0)
	if err == nil && len(bytes.TrimLeft(text[p.offset():], " \t\r\n")) > 0 {
		at := len(text) - len(bytes.TrimLeft(text[p.offset():], " \t\r\n"))
		return nil, &SyntaxError{p.offset(), inWords(text, at, "text follows the end of the document")}
	}
	return top, err
}

type parser struct {
	decoder *jsontext.Decoder
	text    []byte
	base    int
	slab    []Node // nodes are handed out from here, many to an allocation
}

func (p *parser) offset() int { return p.base + int(p.decoder.InputOffset()) }

func (p *parser) node() *Node {
	if len(p.slab) == 0 {
		p.slab = make([]Node, 128)
	}
	n := &p.slab[0]
	p.slab = p.slab[1:]
	return n
}

func (p *parser) value(parent *Node, depth int) (*Node, error) {
	if depth > MaxDepth {
		return nil, &SyntaxError{p.offset(), fmt.Sprintf("nested deeper than %d levels", MaxDepth)}
	}
	n := p.node()
	n.Parent = parent
	switch p.decoder.PeekKind() {
	case '{':
		n.Kind = Object
	case '[':
		n.Kind = Array
	default:
		return n, p.scalar(n)
	}
	if _, err := p.decoder.ReadToken(); err != nil {
		return nil, p.syntaxError(err)
	}
	n.Start = p.offset() - 1
	var err error
	if n.Kind == Object {
		err = p.members(n, depth)
	} else {
		err = p.items(n, depth)
	}
	if err != nil {
		return nil, err
	}
	if _, err := p.decoder.ReadToken(); err != nil {
		return nil, p.syntaxError(err)
	}
	n.End = p.offset()
	return n, nil
}

func (p *parser) members(n *Node, depth int) error {
	for p.decoder.PeekKind() == '"' {
		raw, err := p.decoder.ReadValue()
		if err != nil {
			return p.syntaxError(err)
		}
		m := Member{End: p.offset(), Name: unquote(raw)}
		m.Start = m.End - len(raw)
		if m.Value, err = p.value(n, depth+1); err != nil {
			return err
		}
		m.Value.Name = m.Name
		n.Members = append(n.Members, m)
	}
	return nil
}

func (p *parser) items(n *Node, depth int) error {
	for p.decoder.PeekKind() != ']' {
		item, err := p.value(n, depth+1)
		if err != nil {
			return err
		}
		item.Index = len(n.Items)
		n.Items = append(n.Items, item)
	}
	return nil
}

func (p *parser) scalar(n *Node) error {
	raw, err := p.decoder.ReadValue()
	if err != nil {
		return p.syntaxError(err)
	}
	n.End = p.offset()
	n.Start = n.End - len(raw)
	switch raw.Kind() {
	case '"':
		n.Kind, n.Text = String, unquote(raw)
	case '0':
		n.Kind, n.Text = Number, string(raw)
	case 't', 'f':
		n.Kind, n.Text = Boolean, string(raw)
	}
	return nil
}

// unquote reads a string the decoder has found valid.
func unquote(raw []byte) string {
	if bytes.IndexByte(raw, '\\') < 0 {
		return string(raw[1 : len(raw)-1])
	}
	text, err := jsontext.AppendUnquote(nil, raw)
	if err != nil {
		return string(raw[1 : len(raw)-1]) // not reached
	}
	return string(text)
}

func (p *parser) syntaxError(err error) error {
	e := &SyntaxError{Offset: p.offset(), Message: "this is no valid JSON"}
	var syntactic *jsontext.SyntacticError
	if errors.As(err, &syntactic) {
		e.Offset = p.base + int(syntactic.ByteOffset)
		if syntactic.Err != nil {
			e.Message = strings.TrimPrefix(syntactic.Err.Error(), "jsontext: ")
		}
	}
	e.Offset = min(max(e.Offset, 0), len(p.text))
	e.Message = inWords(p.text, e.Offset, e.Message)
	if !utf8.Valid(p.text) {
		e.Message = "the text is not UTF-8: save the file as UTF-8"
	}
	return e
}
