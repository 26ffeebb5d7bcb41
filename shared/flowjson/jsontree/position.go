package jsontree

import (
	"bytes"
	"slices"
)

// Lines turns byte offsets into lines and columns.
type Lines struct {
	text   []byte
	starts []int // offset of each line's first byte
	// before counts the characters that begin before each block of the text, so
	// that a column is found without reading a whole line, which may be the
	// whole document. It is made when the first column is asked for.
	before []int
}

const block = 1 << 10

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
	return line + 1, l.characters(offset) - l.characters(l.starts[line]) + 1
}

// characters counts those that begin before an offset.
func (l *Lines) characters(offset int) int {
	if l.before == nil {
		l.before = make([]int, 1, len(l.text)/block+1)
		for i := block; i <= len(l.text); i += block {
			l.before = append(l.before, l.before[len(l.before)-1]+firstBytes(l.text[i-block:i]))
		}
	}
	return l.before[offset/block] + firstBytes(l.text[offset/block*block:offset])
}

// firstBytes counts the bytes that begin a character of UTF-8.
func firstBytes(text []byte) int {
	n := 0
	for _, c := range text {
		if c&0xC0 != 0x80 {
			n++
		}
	}
	return n
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
