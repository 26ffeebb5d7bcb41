package conversation

import (
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/phone"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/phone/handset"
)

// Report is what became of the conversations of a file.
type Report struct {
	Flow string
	Held []*Held
	Err  error // of the run itself: it was ended, or held-back webhooks did not arrive
}

// Held is one conversation as it went.
type Held struct {
	Name   string
	Steps  []Said
	Params json.RawMessage // of the flow's end; nil without one
	Took   time.Duration
	Err    error // what was not as expected
}

// Failed says how many conversations did not go as the file says.
func (r *Report) Failed() int {
	failed := 0
	for _, h := range r.Held {
		if h.Err != nil {
			failed++
		}
	}
	return failed
}

// Passed says whether everything went as the file says.
func (r *Report) Passed() bool { return r.Err == nil && r.Failed() == 0 }

// ErrorKey names the kind of an error: the client's own error key, "token-invalid"
// for status 427, "invalid-input" for what the client did not send, and
// "unexpected" for an answer that the client takes and the script does not expect.
func ErrorKey(err error) string {
	if err == nil {
		return ""
	}
	if refusal, ok := errors.AsType[*phone.RefusalError](err); ok {
		return refusal.Key
	}
	if _, ok := errors.AsType[*phone.TokenError](err); ok {
		return "token-invalid"
	}
	if _, ok := errors.AsType[*handset.InvalidError](err); ok {
		return "invalid-input"
	}
	return "unexpected"
}

// WriteJSON writes the report for programs.
func (r *Report) WriteJSON(w io.Writer) error {
	type step struct {
		Number       int             `json:"number"`
		Do           string          `json:"do"`
		From         string          `json:"from,omitempty"`
		Sent         map[string]any  `json:"sent,omitempty"`
		Answer       json.RawMessage `json:"answer,omitempty"`
		Milliseconds float64         `json:"milliseconds"`
		Error        string          `json:"error,omitempty"`
		ErrorKey     string          `json:"error_key,omitempty"`
	}
	type held struct {
		Name         string          `json:"name"`
		Passed       bool            `json:"passed"`
		Error        string          `json:"error,omitempty"`
		ErrorKey     string          `json:"error_key,omitempty"`
		Params       json.RawMessage `json:"params,omitempty"`
		Milliseconds float64         `json:"milliseconds"`
		Steps        []step          `json:"steps"`
	}
	out := struct {
		Flow          string `json:"flow"`
		Passed        bool   `json:"passed"`
		Failed        int    `json:"failed"`
		Error         string `json:"error,omitempty"`
		Conversations []held `json:"conversations"`
	}{Flow: r.Flow, Passed: r.Passed(), Failed: r.Failed(), Error: text(r.Err), Conversations: []held{}}
	for _, h := range r.Held {
		one := held{Name: h.Name, Passed: h.Err == nil, Error: text(h.Err), ErrorKey: ErrorKey(h.Err), Params: h.Params, Milliseconds: milliseconds(h.Took), Steps: []step{}}
		for _, s := range h.Steps {
			one.Steps = append(one.Steps, step{s.Number, s.Step.Do, s.Step.From, s.Sent, valid(s.Answer), milliseconds(s.Took), text(s.Err), ErrorKey(s.Err)})
		}
		out.Conversations = append(out.Conversations, one)
	}
	encoder := json.NewEncoder(w)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	return encoder.Encode(out)
}

// valid is an answer that is JSON; any other has no place in a JSON report.
func valid(answer []byte) json.RawMessage {
	if !json.Valid(answer) {
		return nil
	}
	return answer
}

func text(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

func milliseconds(d time.Duration) float64 {
	return float64(d.Round(10*time.Microsecond).Microseconds()) / 1000
}

// WriteJUnit writes the report as CI servers read it: one test case for each
// conversation.
func (r *Report) WriteJUnit(w io.Writer) error {
	type failure struct {
		Type    string `xml:"type,attr"`
		Message string `xml:"message,attr"`
		Text    string `xml:",chardata"`
	}
	type testCase struct {
		Class   string   `xml:"classname,attr"`
		Name    string   `xml:"name,attr"`
		Seconds string   `xml:"time,attr"`
		Failure *failure `xml:"failure,omitempty"`
	}
	type suite struct {
		XMLName  xml.Name   `xml:"testsuite"`
		Name     string     `xml:"name,attr"`
		Tests    int        `xml:"tests,attr"`
		Failures int        `xml:"failures,attr"`
		Seconds  string     `xml:"time,attr"`
		Cases    []testCase `xml:"testcase"`
	}
	s := suite{Name: r.Flow, Tests: len(r.Held), Failures: r.Failed()}
	var total time.Duration
	add := func(name string, took time.Duration, err error) {
		total += took
		c := testCase{Class: r.Flow, Name: printable(name), Seconds: seconds(took)}
		if err != nil {
			message := printable(err.Error())
			first, _, _ := strings.Cut(message, "\n")
			c.Failure = &failure{ErrorKey(err), first, message}
		}
		s.Cases = append(s.Cases, c)
	}
	for _, h := range r.Held {
		add(h.Name, h.Took, h.Err)
	}
	if r.Err != nil { // a case of its own: it belongs to no conversation
		s.Tests, s.Failures = s.Tests+1, s.Failures+1
		add("the run", 0, r.Err)
	}
	s.Seconds = seconds(total)
	if _, err := io.WriteString(w, xml.Header); err != nil {
		return err
	}
	encoder := xml.NewEncoder(w)
	encoder.Indent("", "  ")
	if err := encoder.Encode(s); err != nil {
		return err
	}
	_, err := fmt.Fprintln(w)
	return err
}

func seconds(d time.Duration) string { return strconv.FormatFloat(d.Seconds(), 'f', 3, 64) }

// printable leaves out what XML 1.0 cannot hold.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) && r != '\n' && r != '\t' || r == 0xfffe || r == 0xffff {
			return -1
		}
		return r
	}, s)
}
