package validate

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

type tokenKind uint8

const (
	endToken tokenKind = iota
	numberToken
	stringToken
	booleanToken
	referenceToken
	operatorToken // parentheses too
)

type token struct {
	kind       tokenKind
	text       string
	start, end int
}

// next reads the token at p.at.
func (p *expressionParser) next() {
	for p.at < len(p.text) && strings.IndexByte(" \t\r\n", p.text[p.at]) >= 0 {
		p.at++
	}
	start := p.at
	p.token = token{start: start, end: start}
	if start == len(p.text) {
		return
	}
	switch c := p.text[start]; {
	case c == '\'' || c == '"' && p.dialect == nestedDialect:
		p.quoted(c)
	case c >= '0' && c <= '9' || c == '.' && p.dialect == nestedDialect:
		p.number()
	case c == '-' && p.dialect == conditionDialect: // a sign, for there is no subtraction
		p.at++
		p.number()
	case strings.HasPrefix(p.text[start:], "${"):
		end := strings.IndexByte(p.text[start:], '}')
		if end < 0 {
			p.failAt(start, len(p.text), "the reference %s is never closed: write the } that belongs to it", clip(p.text[start:]))
			return
		}
		p.take(referenceToken, end+1)
	default:
		p.symbol()
	}
}

func (p *expressionParser) take(kind tokenKind, length int) {
	start := p.token.start
	p.at = start + length
	p.token = token{kind: kind, text: p.text[start:p.at], start: start, end: p.at}
}

func (p *expressionParser) quoted(quote byte) {
	start := p.token.start
	for i := start + 1; i < len(p.text); i++ {
		switch p.text[i] {
		case '\\':
			i++
		case quote:
			p.take(stringToken, i+1-start)
			if inside := strings.Index(p.token.text, "${"); inside >= 0 && p.found.quoted < 0 {
				p.found.quoted = start + inside
			}
			return
		}
	}
	p.failAt(start, len(p.text), "the string %s is never closed: write the %c at its end", clip(p.text[start:]), quote)
}

// number reads digits; in an expression in backticks also a fraction and an
// exponent.
func (p *expressionParser) number() {
	start, i := p.token.start, p.at
	digits := func() int {
		from := i
		for i < len(p.text) && p.text[i] >= '0' && p.text[i] <= '9' {
			i++
		}
		return i - from
	}
	whole := digits()
	first := i - whole
	fraction := 0
	if p.dialect == nestedDialect {
		if i < len(p.text) && p.text[i] == '.' {
			i++
			fraction = digits()
		}
		if i < len(p.text) && (p.text[i] == 'e' || p.text[i] == 'E') {
			i++
			if i < len(p.text) && (p.text[i] == '+' || p.text[i] == '-') {
				i++
			}
			if digits() == 0 {
				whole, fraction = 0, 0
			}
		}
	}
	switch {
	case whole+fraction == 0:
		p.failAt(start, i, "%s is no number", clip(p.text[start:min(max(i, start+1), len(p.text))]))
	case p.dialect == conditionDialect && p.text[first] == '0' && (whole > 1 || first > start):
		p.failAt(start, i, "%s starts with a zero: write the number without it", clip(p.text[start:i]))
	case p.dialect == conditionDialect && i < len(p.text) && p.text[i] == '.':
		p.failAt(start, i+1, "a condition knows only whole numbers: put it in backticks to use fractions (Flow JSON 6.0)")
	default:
		p.take(numberToken, i-start)
	}
}

var (
	conditionSymbols = []string{"==", "!=", "<=", ">=", "&&", "||", "(", ")", "!", "<", ">"}
	nestedSymbols    = append([]string{"+", "-", "*", "/", "%", ",", ";"}, conditionSymbols...)
)

func (p *expressionParser) symbol() {
	rest := p.text[p.token.start:]
	symbols := nestedSymbols
	if p.dialect == conditionDialect {
		symbols = conditionSymbols
	}
	for _, s := range symbols {
		if strings.HasPrefix(rest, s) {
			if (s == "==" || s == "!=") && strings.HasPrefix(rest[2:], "=") {
				p.failAt(p.token.start, p.token.start+3, "%s is no operator: write %s", rest[:3], s)
				return
			}
			p.take(operatorToken, len(s))
			return
		}
	}
	letters := strings.IndexFunc(rest, func(r rune) bool { return !unicode.IsLetter(r) && !unicode.IsDigit(r) && r != '_' && r != '.' })
	if letters < 0 {
		letters = len(rest)
	}
	start := p.token.start
	switch word := rest[:letters]; word {
	case "true", "false":
		p.take(booleanToken, letters)
	case "":
		_, size := utf8.DecodeRuneInString(rest)
		p.failAt(start, start+size, "%s does not belong here%s", clip(rest[:size]), p.advice(rest[0]))
	default:
		p.failAt(start, start+letters, "%s is no value: put text in single quotes, and references in ${…}", clip(word))
	}
}

// advice says what to write instead of a sign other languages have.
func (p *expressionParser) advice(c byte) string {
	switch {
	case c == '?' || c == ':':
		return ": there is no choice between two values, use If or Switch"
	case c == '=':
		return ": equality is =="
	case c == '&':
		return ": and is &&"
	case c == '|':
		return ": or is ||"
	case c == '"':
		return ": strings stand in single quotes"
	case c == '$':
		return ": a reference is ${data.name}"
	case p.dialect == conditionDialect && strings.IndexByte("+*/%", c) >= 0:
		return ": a condition cannot calculate, put it in backticks (Flow JSON 6.0)"
	}
	return ""
}

// precedence says how tight an operator binds, from the loosest, 1; 0 for what
// is none.
func precedence(operator string) int {
	switch operator {
	case "||":
		return 1
	case "&&":
		return 2
	case "==", "!=":
		return 3
	case "<", "<=", ">", ">=":
		return 4
	case "+", "-":
		return 5
	case "*", "/", "%":
		return 6
	}
	return 0
}

func isComparison(operator string) bool {
	level := precedence(operator)
	return level == 3 || level == 4
}
