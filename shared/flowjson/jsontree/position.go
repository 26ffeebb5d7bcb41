package jsontree

import (
	"bytes"
	"slices"
	"unicode/utf8"
)

// Lines turns byte offsets into lines and columns.
type Lines struct {
	text   []byte
	starts []int // offset of each line's first byte
}

// NewLines prepares a text.
func NewLines(text []byte) *Lines {
	l := &Lines{text: text, starts: make([]int, 1, bytes.Count(text, []byte{'\n'})+1)}
	for i := 0; ; {
		next := bytes.IndexByte(text[i:], '\n')
		if next < 0 {
			return l
		}
		i += next + 1
		l.starts = append(l.starts, i)
	}
}

// Place returns the line and the column of a byte offset, both from 1. Columns
// count characters, not bytes.
func (l *Lines) Place(offset int) (line, column int) {
	offset = min(max(offset, 0), len(l.text))
	line, found := slices.BinarySearch(l.starts, offset)
	if !found {
		line--
	}
	return line + 1, utf8.RuneCount(l.text[l.starts[line]:offset]) + 1
}

// Line is the text of a line, counted from 1, without its line break.
func (l *Lines) Line(line int) []byte {
	if line < 1 || line > len(l.starts) {
		return nil
	}
	end := len(l.text)
	if line < len(l.starts) {
		end = l.starts[line] - 1
	}
	return bytes.TrimSuffix(l.text[l.starts[line-1]:end], []byte{'\r'})
}
