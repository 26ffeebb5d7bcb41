package graph

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"
	"unicode"
)

// Error is a refusal by the Graph API.
type Error struct {
	Call    string // "POST /691244242662581/publish"
	Status  int    // of HTTP
	Code    int    // 0 if Meta gave none
	Subcode int
	Type    string // "OAuthException"
	Message string // Meta's, for developers

	UserTitle   string // error_user_title and error_user_msg, which often say most
	UserMessage string
	Details     string // error_data.details, of the calls that send
	TraceID     string // fbtrace_id: Meta's support asks for it
	Transient   bool   // Meta says that another try may succeed

	// Undecided says that the call must not happen twice, and that Meta may have
	// carried it out nevertheless.
	Undecided bool

	// Meaning is what it means and what to do; empty if that is not known.
	Meaning string
	// RetryAfter is how long Meta asks to wait; 0 if it does not say.
	RetryAfter time.Duration
}

// Error says what was called, what Meta says, and what to do.
func (e *Error) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: Meta answered %d", e.Call, e.Status)
	if e.Code != 0 {
		fmt.Fprintf(&b, ", code %d", e.Code)
	}
	if e.Subcode != 0 {
		fmt.Fprintf(&b, " (%d)", e.Subcode)
	}
	said := ""
	for _, text := range []string{e.Message, e.UserTitle, e.UserMessage, e.Details} {
		if text = strings.TrimSpace(text); text != "" && !strings.Contains(said, text) {
			said = strings.TrimSuffix(said, ".") + ": " + text
		}
	}
	b.WriteString(said)
	switch {
	case e.Undecided: // what it means would be to try again
		b.WriteString(" — Meta failed, and " + lookFirst)
	case e.Meaning != "":
		b.WriteString(" — " + e.Meaning)
	}
	if e.RetryAfter > 0 {
		fmt.Fprintf(&b, "; Meta asks to wait for %s", e.RetryAfter)
	}
	if e.TraceID != "" {
		fmt.Fprintf(&b, " [fbtrace_id %s]", e.TraceID)
	}
	return b.String()
}

// lookFirst is what to do after a call that must not happen twice.
const lookFirst = "it may have been carried out or not: look before you repeat it"

// HasCode says whether err is a refusal with one of these codes.
func HasCode(err error, codes ...int) bool {
	var e *Error
	if !errors.As(err, &e) {
		return false
	}
	for _, code := range codes {
		if e.Code == code {
			return true
		}
	}
	return false
}

// The codes that callers act on.
const (
	CodeFlowCannotUpdate    = 139001 // the flow is of a kind, or in a state, that cannot be changed
	CodeFlowCannotPublish   = 139002
	CodeFlowCannotDeprecate = 139003
	CodeInvalidParameter    = 100
)

// subcodeNoObject comes with code 100 for an id that does not exist, or that
// the token may not see.
const subcodeNoObject = 33

// NotFound says that Meta knows no such object, or hides it from this token.
func NotFound(err error) bool {
	var e *Error
	return errors.As(err, &e) && e.Code == CodeInvalidParameter && e.Subcode == subcodeNoObject
}

// limited says that too much was asked: surely nothing was carried out.
func (e *Error) limited() bool {
	switch e.Code {
	case 4, 17, 32, 613, 80007, 130429:
		return true
	}
	return e.Status == http.StatusTooManyRequests
}

// passing says that the same may succeed later.
func (e *Error) passing() bool { return e.Status >= 500 || e.Transient || e.Code == 1 || e.Code == 2 }

type wireError struct {
	Message     string          `json:"message"`
	Type        string          `json:"type"`
	Code        int             `json:"code"`
	Subcode     int             `json:"error_subcode"`
	TraceID     string          `json:"fbtrace_id"`
	UserTitle   string          `json:"error_user_title"`
	UserMessage string          `json:"error_user_msg"`
	Transient   bool            `json:"is_transient"`
	Data        json.RawMessage `json:"error_data"`
}

// longestText bounds what an error repeats of Meta's.
const longestText = 1000

func (w *wireError) into(e *Error, redact func(string) string) {
	text := func(s string) string {
		s = strings.Map(func(r rune) rune {
			if unicode.IsControl(r) {
				return ' ' // it ends up on a terminal
			}
			return r
		}, redact(s))
		if len(s) > longestText {
			s = strings.ToValidUTF8(s[:longestText], "") + "…"
		}
		return s
	}
	e.Code, e.Subcode, e.Transient = w.Code, w.Subcode, w.Transient
	e.Message, e.Type, e.TraceID = text(w.Message), text(w.Type), text(w.TraceID)
	e.UserTitle, e.UserMessage = text(w.UserTitle), text(w.UserMessage)
	var data struct {
		Details string `json:"details"`
	}
	if json.Unmarshal(w.Data, &data) == nil {
		e.Details = text(data.Details)
	}
}
