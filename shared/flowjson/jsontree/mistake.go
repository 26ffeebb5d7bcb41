package jsontree

import (
	"bytes"
	"strings"
)

// inWords says in plain words what is wrong with a text at an offset, where the
// parser stopped; message is the parser's own.
func inWords(text []byte, offset int, message string) string {
	if len(bytes.TrimSpace(bytes.TrimPrefix(text, ByteOrderMark))) == 0 {
		return "the file is empty"
	}
	rest := text[offset:]
	begins := func(signs ...string) bool {
		for _, sign := range signs {
			if bytes.HasPrefix(rest, []byte(sign)) {
				return true
			}
		}
		return false
	}
	switch {
	case strings.Contains(message, "in string"):
		if begins("\n", "\r") {
			return `a text ends with its line: close it with ", or write \n for a new line`
		}
		return message
	case begins("//", "/*", "#"):
		return "JSON has no comments: remove it"
	case begins("“", "”", "„", "‘", "’", "'", "`"):
		return `quotes must be "`
	case message == "unexpected EOF":
		return "the file ends before everything in it is closed"
	case strings.HasSuffix(message, "at start of value") && begins(","):
		if after := bytes.TrimLeft(rest[1:], " \t\r\n"); len(after) > 0 && (after[0] == '}' || after[0] == ']') {
			return "a comma before " + string(after[0]) + ": remove it"
		}
		return "a value is missing at this comma"
	case strings.HasSuffix(message, "at start of value") && begins("}", "]"):
		return "a value is missing before " + string(rest[0])
	case strings.Contains(message, "(expecting ','") && begins(`"`):
		return "a comma is missing before this"
	}
	return message
}
