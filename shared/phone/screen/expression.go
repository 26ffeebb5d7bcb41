package screen

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
)

// reference is one ${…}.
type reference struct {
	screen string // of ${screen.ID.…}; empty for the screen it stands on
	store  string // data or form
	path   []string
}

// parseReference reads what stands between ${ and }.
func parseReference(inner string) (reference, error) {
	names := strings.Split(strings.TrimSpace(inner), ".")
	var r reference
	if len(names) > 2 && names[0] == "screen" {
		r.screen, names = names[1], names[2:]
	}
	if len(names) < 2 || names[0] != "data" && names[0] != "form" {
		return r, fmt.Errorf("${%s} is no reference, expected ${data.name}, ${form.name} or ${screen.ID.form.name}", inner)
	}
	r.store, r.path = names[0], names[1:]
	return r, nil
}

// lookup gives a reference's value; nil is one that is not there.
type lookup func(reference) any

// resolve gives what a property or a member of a payload stands for: one
// reference, an expression in backticks, or itself.
func resolve(value any, find lookup) (any, error) {
	switch v := value.(type) {
	case string:
		return resolveText(v, find)
	case []any:
		out := make([]any, 0, len(v))
		for _, item := range v {
			resolved, err := resolve(item, find)
			if err != nil {
				return nil, err
			}
			if resolved != nil {
				out = append(out, resolved)
			}
		}
		return out, nil
	case map[string]any:
		out := make(map[string]any, len(v))
		for key, member := range v {
			resolved, err := resolve(member, find)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", key, err)
			}
			if resolved != nil { // the client leaves out what has no value
				out[key] = resolved
			}
		}
		return out, nil
	default:
		return value, nil
	}
}

func resolveText(text string, find lookup) (any, error) {
	if len(text) >= 2 && text[0] == '`' && text[len(text)-1] == '`' {
		return evaluate(text[1:len(text)-1], find)
	}
	inner, isReference := strings.CutPrefix(text, "${")
	inner, closed := strings.CutSuffix(inner, "}")
	if !isReference || !closed || strings.ContainsAny(inner, "{}") {
		return text, nil
	}
	r, err := parseReference(inner)
	if err != nil {
		return nil, err
	}
	return find(r), nil
}

// condition is an If's, which stands without backticks, or with them.
func condition(value any, find lookup) (bool, error) {
	if text, ok := value.(string); ok {
		text = strings.TrimSpace(text)
		if len(text) < 2 || text[0] != '`' {
			text = "`" + text + "`"
		}
		var err error
		if value, err = resolveText(text, find); err != nil {
			return false, err
		}
	}
	return truth(value), nil
}

// maxDepth bounds parentheses and signs within each other.
const maxDepth = 200

// evaluate gives the value of an expression without its backticks. What stands
// side by side is joined as text.
func evaluate(text string, find lookup) (any, error) {
	e := &evaluator{text: text, find: find}
	value := e.binary(0, 0)
	joined := false
	var b strings.Builder
	for e.err == nil && e.skip() {
		if c := e.text[e.at]; c == ',' || c == ';' { // Meta's parser passes over them
			e.at++
			continue
		}
		if !joined {
			joined = true
			b.WriteString(Text(value))
		}
		b.WriteString(Text(e.binary(0, 0)))
	}
	if e.err != nil {
		return nil, fmt.Errorf("the expression `%s`: %w", text, e.err)
	}
	if joined {
		return b.String(), nil
	}
	return value, nil
}

type evaluator struct {
	text string
	at   int
	find lookup
	err  error
}

func (e *evaluator) fail(format string, args ...any) any {
	if e.err == nil {
		e.err = fmt.Errorf(format, args...)
	}
	e.at = len(e.text)
	return nil
}

// skip passes over white space and says whether anything is left.
func (e *evaluator) skip() bool {
	for e.at < len(e.text) && strings.IndexByte(" \t\r\n", e.text[e.at]) >= 0 {
		e.at++
	}
	return e.at < len(e.text)
}

var operators = []struct {
	symbol string
	level  int // from the loosest
}{
	{"||", 1}, {"&&", 2}, {"==", 3}, {"!=", 3}, {"<=", 4}, {">=", 4}, {"<", 4}, {">", 4},
	{"+", 5}, {"-", 5}, {"*", 6}, {"/", 6}, {"%", 6},
}

func (e *evaluator) binary(floor, depth int) any {
	if depth > maxDepth {
		return e.fail("it is nested deeper than %d levels", maxDepth)
	}
	left := e.unary(depth)
	for e.err == nil && e.skip() {
		symbol, level := "", 0
		for _, o := range operators {
			if strings.HasPrefix(e.text[e.at:], o.symbol) {
				symbol, level = o.symbol, o.level
				break
			}
		}
		if level <= floor {
			return left
		}
		e.at += len(symbol)
		left = e.apply(symbol, left, e.binary(level, depth+1))
	}
	return left
}

func (e *evaluator) unary(depth int) any {
	if depth > maxDepth {
		return e.fail("it is nested deeper than %d levels", maxDepth)
	}
	if !e.skip() {
		return e.fail("a value is missing at its end")
	}
	rest := e.text[e.at:]
	switch c := rest[0]; {
	case c == '(':
		e.at++
		inner := e.binary(0, depth+1)
		if e.err == nil && (!e.skip() || e.text[e.at] != ')') {
			return e.fail("a ( is never closed")
		}
		e.at++
		return inner
	case c == '!':
		e.at++
		return !truth(e.unary(depth + 1))
	case c == '-', c == '+':
		e.at++
		n := number(e.unary(depth + 1))
		if c == '-' {
			n = -n
		}
		return n
	case c == '\'' || c == '"':
		return e.quoted(c)
	case strings.HasPrefix(rest, "${"):
		inner, _, closed := strings.Cut(rest[2:], "}")
		if !closed {
			return e.fail("a ${ is never closed")
		}
		e.at += len(inner) + 3
		r, err := parseReference(inner)
		if err != nil {
			return e.fail("%w", err)
		}
		return e.find(r)
	case c >= '0' && c <= '9' || c == '.':
		end := strings.IndexFunc(rest, func(r rune) bool { return (r < '0' || r > '9') && r != '.' })
		if end < 0 {
			end = len(rest)
		}
		n, err := strconv.ParseFloat(rest[:end], 64)
		if err != nil {
			return e.fail("%s is no number", rest[:end])
		}
		e.at += end
		return n
	case strings.HasPrefix(rest, "true"):
		e.at += len("true")
		return true
	case strings.HasPrefix(rest, "false"):
		e.at += len("false")
		return false
	}
	return e.fail("%.10q is no value", rest)
}

// quoted reads a string in single quotes; a backslash takes the next character
// as it is.
func (e *evaluator) quoted(quote byte) any {
	var b strings.Builder
	for i := e.at + 1; i < len(e.text); i++ {
		switch c := e.text[i]; {
		case c == '\\' && i+1 < len(e.text):
			i++
			b.WriteByte(e.text[i])
		case c == quote:
			e.at = i + 1
			return b.String()
		default:
			b.WriteByte(c)
		}
	}
	return e.fail("a string is never closed")
}

func (e *evaluator) apply(symbol string, left, right any) any {
	if e.err != nil {
		return nil
	}
	switch symbol {
	case "||":
		return truth(left) || truth(right)
	case "&&":
		return truth(left) && truth(right)
	case "==":
		return equal(left, right)
	case "!=":
		return !equal(left, right)
	}
	a, b := number(left), number(right)
	switch symbol {
	case "<":
		return a < b
	case "<=":
		return a <= b
	case ">":
		return a > b
	case ">=":
		return a >= b
	case "+":
		return a + b
	case "-":
		return a - b
	case "*":
		return a * b
	case "/":
		if b == 0 {
			return 0.0 // the client's rule
		}
		return a / b
	default:
		if b == 0 {
			return 0.0
		}
		return math.Mod(a, b)
	}
}

// equal compares values of one type. One that is not there is the empty one of
// the other's type.
func equal(a, b any) bool {
	if a == nil {
		a, b = b, a
	}
	switch a := a.(type) {
	case string:
		return a == Text(b) && (b == nil || isString(b))
	case float64:
		_, ok := b.(float64)
		return (ok || b == nil) && a == number(b)
	case bool:
		_, ok := b.(bool)
		return (ok || b == nil) && a == truth(b)
	default:
		return a == nil && b == nil
	}
}

func isString(v any) bool { _, ok := v.(string); return ok }

func truth(v any) bool { b, _ := v.(bool); return b }

// number is a value in arithmetic: inputs hold digits as text.
func number(v any) float64 {
	switch v := v.(type) {
	case float64:
		return v
	case int:
		return float64(v)
	case string:
		n, err := strconv.ParseFloat(strings.TrimSpace(v), 64)
		if err == nil || errors.Is(err, strconv.ErrRange) {
			return n
		}
	}
	return 0
}

// Text is a value as the client writes it into a text.
func Text(v any) string {
	switch v := v.(type) {
	case nil:
		return ""
	case string:
		return v
	case bool:
		return strconv.FormatBool(v)
	case float64:
		return strconv.FormatFloat(v, 'f', -1, 64)
	case []any:
		parts := make([]string, len(v))
		for i, item := range v {
			parts[i] = Text(item)
		}
		return strings.Join(parts, ", ")
	default:
		return fmt.Sprint(v)
	}
}
