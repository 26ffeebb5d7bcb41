package logic

import (
	"errors"
	"fmt"
	"strings"
)

// RuleError says which expression did not give an answer. It repeats no value.
type RuleError struct {
	File         string
	Line, Column int
	Path         string // "screens.RECOMMEND.next[0].when"
	Reason       string
	// Input says that what came from outside does not fit: a text that is no
	// number.
	Input bool
}

func (e *RuleError) Error() string {
	return fmt.Sprintf("%s:%d:%d: %s: %s", e.File, e.Line, e.Column, e.Path, e.Reason)
}

func (t *Turn) fault(e *expression, err error) *RuleError {
	var inner *RuleError
	if errors.As(err, &inner) {
		return inner // of a fetch this expression needed
	}
	reason, input := reasonOf(err)
	var lacking *lackingMember
	if errors.As(err, &lacking) {
		reason, input = lacking.reason(e.members), true
	}
	if t.ctx.Err() != nil {
		reason, input = "the time for an answer is over", false
	}
	return &RuleError{File: t.rules.File, Line: e.line, Column: e.column, Path: e.path, Reason: reason, Input: input}
}

// reasonOf turns what CEL says into words that repeat no value: its own texts
// may hold what a user typed.
func reasonOf(err error) (reason string, input bool) {
	var known *inputError
	if errors.As(err, &known) {
		return known.reason, true
	}
	var own *ownError
	if errors.As(err, &own) {
		return own.reason, false
	}
	message := err.Error()
	for _, m := range []struct {
		text, reason string
		input        bool
	}{
		{"type conversion error from", "a value cannot be converted: " + message, true},
		{"invalid RFC 3339", "a text is no timestamp", true},
		{"overflow", "a number is too large", true},
		{"no such overload", "an operation does not fit the types of its values", false},
		{"no such key", "an object lacks the key", false},
		{"out of bounds", "a list has no such item", false},
		{"by zero", "a division by zero", false},
		{"cost limit exceeded", fmt.Sprintf("it needs more than %d steps of computing", maxCost), false},
		{"interrupted", "the time for an answer is over", false},
		{"program size", "a pattern is too large", false},
		{"regexp", "a pattern is not valid", false},
	} {
		if strings.Contains(message, m.text) {
			return m.reason, m.input
		}
	}
	return "it cannot be evaluated", false
}

// ownError is a fault that this package words itself, without any value.
type ownError struct{ reason string }

func (e *ownError) Error() string { return e.reason }
