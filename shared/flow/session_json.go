package flow

import (
	"encoding/json"
	"fmt"
	"strconv"
	"time"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/rawjson"
)

// ParseSession reads what Encode made, also that of an earlier release: members
// it does not know are left out. Answers, Vars and Shown are parts of stored,
// which must stay as it is while the session is used. The error repeats nothing
// of it.
func ParseSession(stored []byte) (*Session, error) {
	if err := isObject(stored); err != nil {
		return nil, fmt.Errorf("the stored session is not the JSON of one: %w", err)
	}
	s := new(Session)
	r := sessionReader{cursor: cursor{raw: stored}, text: string(stored)}
	r.object("", func(name string) {
		switch name {
		case "v":
			s.Version = r.integer(name)
		case "d":
			s.Definition = r.string(name)
		case "n":
			s.Attempt = int(r.integer(name))
		case "s":
			s.Screen = r.string(name)
		case "p":
			s.Path = r.strings(name)
		case "a":
			s.Answers = map[string]map[string]json.RawMessage{}
			r.object(name, func(screen string) { s.Answers[screen] = r.values(name) })
		case "l":
			s.Latest = map[string]string{}
			r.object(name, func(key string) { s.Latest[key] = r.string(name) })
		case "t":
			s.Started = r.time(name)
		case "c":
			s.Completed = r.boolean(name)
		case "i":
			s.Incomplete = r.boolean(name)
		case "u":
			s.User = r.string(name)
		case "m":
			s.UserName = r.string(name)
		case "x":
			s.Vars = r.values(name)
		case "r":
			s.Shown = r.values(name)
		default:
			r.value()
		}
	})
	if r.wrong != "" {
		return nil, fmt.Errorf("the stored session is not the JSON of one: its member %s has a value of another type", r.wrong)
	}
	return s, nil
}

// sessionReader goes through a session that is valid JSON. The texts it returns
// are parts of one string, so that a session costs one copy of itself and not
// one for each name in it.
type sessionReader struct {
	cursor
	text  string // the same bytes
	wrong string // the first member whose value is of another type
}

// expect says whether the next value begins with a sign; else it moves over the
// value and notes the member as wrong.
func (r *sessionReader) expect(sign byte, member string) bool {
	r.skip()
	if r.raw[r.at] == sign {
		return true
	}
	r.value()
	if r.wrong == "" {
		r.wrong = member
	}
	return false
}

// object calls each with the name of every member, before the member's value.
func (r *sessionReader) object(member string, each func(name string)) {
	if !r.expect('{', member) {
		return
	}
	for r.at++; r.more(); {
		each(r.quoted())
	}
	r.at++ // the closing bracket
}

// quoted is the string that follows.
func (r *sessionReader) quoted() string {
	from := r.at
	if r.cursor.text() {
		return r.text[from+1 : r.at-1]
	}
	s, _ := stringOf(r.raw[from:r.at]) // it is valid
	return s
}

func (r *sessionReader) string(member string) string {
	if !r.expect('"', member) {
		return ""
	}
	return r.quoted()
}

func (r *sessionReader) strings(member string) (list []string) {
	if !r.expect('[', member) {
		return nil
	}
	list = make([]string, 0, 8) // most flows have no more screens
	for r.at++; r.more(); {
		list = append(list, r.string(member))
	}
	r.at++
	return list
}

func (r *sessionReader) values(member string) map[string]json.RawMessage {
	values := map[string]json.RawMessage{}
	r.object(member, func(key string) { values[key] = r.value() })
	return values
}

func (r *sessionReader) integer(member string) int64 {
	n, err := strconv.ParseInt(string(r.value()), 10, 64)
	if err != nil && r.wrong == "" {
		r.wrong = member
	}
	return n
}

func (r *sessionReader) boolean(member string) bool {
	switch string(r.value()) {
	case "true":
		return true
	case "false":
	default:
		r.wrong = member
	}
	return false
}

func (r *sessionReader) time(member string) (t time.Time) {
	if r.expect('"', member) && t.UnmarshalText([]byte(r.quoted())) != nil {
		r.wrong = member
	}
	return t
}

// Encode is the session as it is stored: members that are empty left out, maps
// sorted by their keys, every answer as the client wrote it.
func (s *Session) Encode() []byte {
	b := make([]byte, 0, s.size())
	b = strconv.AppendInt(append(b, `{"v":`...), s.Version, 10)
	b = appendText(b, `,"d":`, s.Definition)
	b = strconv.AppendInt(append(b, `,"n":`...), int64(s.Attempt), 10)
	b = appendText(b, `,"s":`, s.Screen)
	if len(s.Path) > 0 {
		b = append(b, `,"p":[`...)
		for i, screen := range s.Path {
			if i > 0 {
				b = append(b, ',')
			}
			b = rawjson.AppendString(b, screen)
		}
		b = append(b, ']')
	}
	if len(s.Answers) > 0 {
		b = rawjson.AppendMap(append(b, `,"a":`...), s.Answers, rawjson.AppendObject)
	}
	if len(s.Latest) > 0 {
		b = rawjson.AppendMap(append(b, `,"l":`...), s.Latest, rawjson.AppendString)
	}
	b = s.Started.AppendFormat(append(b, `,"t":"`...), time.RFC3339Nano)
	b = append(b, '"')
	if s.Completed {
		b = append(b, `,"c":true`...)
	}
	if s.Incomplete {
		b = append(b, `,"i":true`...)
	}
	b = appendText(b, `,"u":`, s.User)
	b = appendText(b, `,"m":`, s.UserName)
	b = appendValues(b, `,"x":`, s.Vars)
	b = appendValues(b, `,"r":`, s.Shown)
	return append(b, '}')
}

// size is about what Encode makes, so that it allocates once.
func (s *Session) size() int {
	size := 160 + len(s.Definition) + len(s.Screen) + len(s.User) + len(s.UserName) + rawjson.SizeOf(s.Vars) + rawjson.SizeOf(s.Shown)
	for _, screen := range s.Path {
		size += len(`"",`) + len(screen)
	}
	for screen, answers := range s.Answers {
		size += len(`"":,`) + len(screen) + rawjson.SizeOf(answers)
	}
	for key, screen := range s.Latest {
		size += len(`"":"",`) + len(key) + len(screen)
	}
	return size
}

func appendText(b []byte, name, text string) []byte {
	if text == "" {
		return b
	}
	return rawjson.AppendString(append(b, name...), text)
}

func appendValues(b []byte, name string, values map[string]json.RawMessage) []byte {
	if len(values) == 0 {
		return b
	}
	return rawjson.AppendObject(append(b, name...), values)
}
