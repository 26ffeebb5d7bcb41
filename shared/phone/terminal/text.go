package terminal

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// Printable is a text on one line that cannot move a terminal's cursor, nor turn
// the direction of what stands behind it: what an endpoint sends is drawn, not
// obeyed.
func Printable(text string) string {
	return strings.Map(func(r rune) rune {
		if r != '\t' && obeyed(r) {
			return ' '
		}
		return r
	}, text)
}

// PrintableLines is Printable for a text of several lines.
func PrintableLines(text string) string {
	return strings.Map(func(r rune) rune {
		if r != '\t' && r != '\n' && obeyed(r) {
			return ' '
		}
		return r
	}, text)
}

// obeyed says whether a terminal may do something else with a character than
// show it: controls of C0 and C1, line and paragraph separators, and what embeds
// or overrides a direction.
func obeyed(r rune) bool {
	return unicode.IsControl(r) || r >= 0x2028 && r <= 0x202e || r >= 0x2066 && r <= 0x2069 || r == utf8.RuneError
}

// columns is how many of a terminal's columns a text takes, about: those of
// Chinese, Japanese and Korean and emoji take two, marks on other characters
// none.
func columns(text string) int {
	n := 0
	for _, r := range text {
		n += columnsOf(r)
	}
	return n
}

func columnsOf(r rune) int {
	switch {
	case r < 0x300:
		return 1
	case unicode.In(r, unicode.Mn, unicode.Me, unicode.Cf):
		return 0
	case unicode.In(r, unicode.Han, unicode.Hangul, unicode.Hiragana, unicode.Katakana),
		r >= 0x3000 && r <= 0x303f, r >= 0xff01 && r <= 0xff60, r >= 0xffe0 && r <= 0xffe6, r >= 0x1f300 && r <= 0x1faff:
		return 2
	}
	return 1
}

// wrap breaks a text into lines of at most so many columns, at blanks if there
// are any.
func wrap(text string, width int) []string {
	var lines []string
	for paragraph := range strings.Lines(text) {
		line := ""
		for _, word := range strings.Fields(paragraph) {
			if line != "" && columns(line)+1+columns(word) > width {
				lines, line = append(lines, line), ""
			}
			if line != "" {
				line += " "
			}
			fits, rest := cut(word, width)
			for rest != "" { // each time only as far as a line goes: a word may have megabytes
				lines = append(lines, fits)
				fits, rest = cut(rest, width)
			}
			line += fits
		}
		lines = append(lines, line)
	}
	return lines
}

// cut takes so many columns off a word, and at least one character.
func cut(word string, width int) (fits, rest string) {
	n := 0
	for i, r := range word {
		if n += columnsOf(r); n > width && i > 0 {
			return word[:i], word[i:]
		}
	}
	return word, ""
}
