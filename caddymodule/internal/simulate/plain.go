package simulate

import (
	"fmt"
	"io"
	"regexp"
	"unicode"
	"unicode/utf8"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/phone/terminal"
)

// people writes for people who sit at a terminal, which an endpoint's texts must
// not steer, wherever they stand: in an answer, an error, or the message of a 427.
// Signed flow tokens, which open a flow as their user, are left out. It is to be
// written to in whole lines.
type people struct{ to io.Writer }

func (p people) Write(text []byte) (int, error) {
	if _, err := io.WriteString(p.to, terminal.PrintableLines(string(hideTokens(text)))); err != nil {
		return 0, err
	}
	return len(text), nil
}

// programs writes JSON: the same for programs, whose output may land on a
// terminal too. Controls below a blank are escaped in JSON anyway.
type programs struct{ to io.Writer }

func (p programs) Write(text []byte) (int, error) {
	hidden := hideTokens(text)
	out := make([]byte, 0, len(hidden))
	for rest := hidden; len(rest) > 0; {
		r, size := utf8.DecodeRune(rest)
		if r >= 0x7f && unicode.IsControl(r) { // inside of a string: nowhere else is there room for it
			out = fmt.Appendf(out, `\u%04x`, r)
		} else {
			out = append(out, rest[:size]...)
		}
		rest = rest[size:]
	}
	if _, err := p.to.Write(out); err != nil {
		return 0, err
	}
	return len(text), nil
}

var signedToken = regexp.MustCompile(`wf1\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+`)

func hideTokens(text []byte) []byte { return signedToken.ReplaceAll(text, []byte("wf1.…")) }
