package logic

import (
	"bytes"
	"errors"
	"io"
	"regexp"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

func (r *reader) readYAML() *node {
	decoder := yaml.NewDecoder(bytes.NewReader(r.text))
	var document, another yaml.Node
	err := decoder.Decode(&document)
	if errors.Is(err, io.EOF) {
		r.fail(1, 1, "", "the file holds no rules: leave it out to follow the routing model")
		return nil
	}
	if err == nil {
		if again := decoder.Decode(&another); again == nil {
			r.fail(another.Line, another.Column, "", "a second document begins here, expected one")
			return nil
		} else if !errors.Is(again, io.EOF) {
			err = again
		}
	}
	if err != nil {
		r.noYAML(err)
		return nil
	}
	if len(document.Content) != 1 {
		r.fail(1, 1, "", "the file holds no rules: leave it out to follow the routing model")
		return nil
	}
	return r.fromYAML(document.Content[0], "", 0)
}

func (r *reader) fromYAML(from *yaml.Node, path string, depth int) *node {
	n := &node{line: from.Line, column: from.Column, path: path}
	if r.enough(n.line, n.column, path, depth) {
		return n
	}
	switch from.Kind {
	case yaml.AliasNode:
		r.fail(n.line, n.column, path, "aliases (*name) are not known here: repeat the value, or make it a constant")
		n.kind = null
	case yaml.MappingNode:
		n.kind = mapping
		for i := 0; i+1 < len(from.Content); i += 2 {
			key, value := from.Content[i], from.Content[i+1]
			if key.Kind != yaml.ScalarNode || key.Tag == "!!merge" {
				r.fail(key.Line, key.Column, path, "expected a name, then a colon")
				continue
			}
			r.addMember(n, member{key.Value, key.Line, key.Column, r.fromYAML(value, join(path, key.Value), depth+1)})
		}
	case yaml.SequenceNode:
		n.kind = list
		for i, item := range from.Content {
			n.items = append(n.items, r.fromYAML(item, path+"["+strconv.Itoa(i)+"]", depth+1))
		}
	default:
		r.yamlScalar(n, from)
	}
	return n
}

func join(path, name string) string {
	if path == "" {
		return name
	}
	return path + "." + name
}

func (r *reader) yamlScalar(n *node, from *yaml.Node) {
	switch from.ShortTag() {
	case "!!null":
		n.kind = null
	case "!!int", "!!float", "!!bool":
		n.text, n.plain = from.Value, true
		if leadingZero.MatchString(n.text) {
			r.fail(n.line, n.column, n.path, clip(n.text)+" begins with 0, which YAML takes for an octal number: put it in quotes, or leave out the 0")
		}
	default: // texts; what YAML takes for a date or for binary is one here too
		n.text, n.isString = from.Value, true
		r.placeText(n, from)
	}
}

var leadingZero = regexp.MustCompile(`^[-+]?0[0-9]`)

// placeText finds where a text begins in the file, if it stands there as it
// is, so that a mistake in the middle of it can be shown.
func (r *reader) placeText(n *node, from *yaml.Node) {
	line, column := from.Line, from.Column
	switch from.Style &^ yaml.TaggedStyle {
	case yaml.DoubleQuotedStyle, yaml.SingleQuotedStyle:
		column++
	case yaml.LiteralStyle:
		line++
		content := r.lines.Line(line)
		column = 1 + len(content) - len(bytes.TrimLeft(content, " "))
	}
	first, _, _ := strings.Cut(from.Value, "\n")
	if rest := r.rest(line, column); rest != nil && bytes.HasPrefix(rest, []byte(first)) {
		n.line, n.column, n.plain = line, column, true
	}
}
