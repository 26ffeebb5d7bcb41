package flow

import (
	"bytes"
	"encoding/json"
	"maps"
	"reflect"
	"strings"
	"testing"
	"time"
)

// storedSession is a session with everything a session can have, as releases
// have stored it from the first one on: after an update it must still be read.
const storedSession = `{"v":7,"d":"0f3b","n":2,"s":"THANKS","p":["RATING","COMMENT","THANKS"],` +
	`"a":{"COMMENT":{"comment":"<b> & \u00e9 \"quoted\" ü","photos":[{"id":1,"size":12345678901234567890.10}],"score":"5"},"RATING":{"score":"4"},"é\"x":{}},` +
	`"l":{"score":"COMMENT"},"t":"2026-11-23T12:00:00.25Z","c":true,"i":true,"u":"US.4711","m":"Ada \"A\" <Ł>\u2028",` +
	`"x":{"code":"00420","tries":3},"r":{"comment":"","score":"5"}}`

func wholeSession() *Session {
	raw := func(s string) json.RawMessage { return json.RawMessage(s) }
	return &Session{
		Version: 7, Definition: "0f3b", Attempt: 2, Screen: "THANKS", Path: []string{"RATING", "COMMENT", "THANKS"},
		Answers: map[string]map[string]json.RawMessage{
			"RATING":  {"score": raw(`"4"`)},
			"COMMENT": {"score": raw(`"5"`), "comment": raw(`"<b> & \u00e9 \"quoted\" ü"`), "photos": raw(`[{"id":1,"size":12345678901234567890.10}]`)},
			"é\"x":    {},
		},
		Latest: map[string]string{"score": "COMMENT"}, Started: time.Date(2026, 11, 23, 12, 0, 0, 250_000_000, time.UTC),
		Completed: true, Incomplete: true, User: "US.4711", UserName: "Ada \"A\" <Ł>\u2028",
		Vars:  map[string]json.RawMessage{"tries": raw("3"), "code": raw(`"00420"`)},
		Shown: map[string]json.RawMessage{"comment": raw(`""`), "score": raw(`"5"`)},
	}
}

func TestAStoredSessionOfEveryReleaseIsRead(t *testing.T) {
	spaced := strings.NewReplacer(`{`, " { ", `:`, " :\n", `,`, "\t, ").Replace
	for name, c := range map[string]struct {
		stored string
		want   *Session
	}{
		"with everything":                {storedSession, wholeSession()},
		"with nothing but what it needs": {`{"v":1,"n":1,"t":"2026-11-23T12:00:00Z"}`, &Session{Version: 1, Attempt: 1, Started: noon}},
		"with members of a later release": {`{"v":1,"later":{"v":2,"n":[3]},"n":1,"t":"2026-11-23T12:00:00Z","z":"\"}"}`,
			&Session{Version: 1, Attempt: 1, Started: noon}},
		"spaced":        {spaced(`{"v":1,"n":1,"p":["A","B"]}`), &Session{Version: 1, Attempt: 1, Path: []string{"A", "B"}}},
		"escaped names": {`{"\u0076":4,"p":["\u0041"],"x":{"\u0062":1}}`, &Session{Version: 4, Path: []string{"A"}, Vars: map[string]json.RawMessage{"b": json.RawMessage("1")}}},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := ParseSession([]byte(c.stored))
			if err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(got, c.want) {
				t.Errorf("read\n%+v\nexpected\n%+v", got, c.want)
			}
		})
	}
}

func TestASessionIsStoredAsEveryReleaseReadsIt(t *testing.T) {
	equal(t, "a session with everything", string(wholeSession().Encode()), storedSession)
	equal(t, "one with nothing", string((&Session{Version: 1, Attempt: 1, Started: noon}).Encode()), `{"v":1,"n":1,"t":"2026-11-23T12:00:00Z"}`)
}

func TestAStoredSessionThatIsNoneIsRefusedWithoutRepeatingIt(t *testing.T) {
	for name, stored := range map[string]string{
		"nothing":                 ``,
		"no JSON":                 `{"v":1,"u":private}`,
		"cut off":                 storedSession[:len(storedSession)-1],
		"an array":                `["private"]`,
		"a text for the version":  `{"v":"private"}`,
		"a fraction for it":       `{"v":1.5}`,
		"a number for the screen": `{"s":1}`,
		"a text for the path":     `{"p":"private"}`,
		"a number on the path":    `{"p":["A",1]}`,
		"answers of no screen":    `{"a":{"A":"private"}}`,
		"answers as an array":     `{"a":["private"]}`,
		"latest of a number":      `{"l":{"private":1}}`,
		"no time":                 `{"t":"private"}`,
		"a text for completed":    `{"c":"private"}`,
		"vars as a text":          `{"x":"private"}`,
		"shown as a number":       `{"r":1}`,
	} {
		t.Run(name, func(t *testing.T) {
			s, err := ParseSession([]byte(stored))
			if err == nil {
				t.Fatalf("read as %+v", s)
			}
			if strings.Contains(err.Error(), "private") {
				t.Errorf("the error repeats what is stored: %v", err)
			}
		})
	}
}

// FuzzParseSession holds the session's own reader and writer against
// encoding/json.
func FuzzParseSession(f *testing.F) {
	f.Add([]byte(storedSession))
	f.Add([]byte(`{"v":1,"n":1,"t":"2026-11-23T12:00:00+01:00","p":[],"a":{"A":{"k":[{"a":null}]},"B":{}},"l":{"\ud800":"\u0000"}}`))
	f.Add([]byte(`{"v":-9223372036854775808,"n":0,"t":"0001-01-01T00:00:00Z","c":false,"z":[[[]]]}`))
	f.Fuzz(func(t *testing.T, stored []byte) {
		s, err := ParseSession(stored)
		if err != nil {
			return
		}
		if plainMembers(stored) {
			var want Session
			if err := json.Unmarshal(stored, &want); err != nil || !reflect.DeepEqual(empty(s), empty(&want)) {
				t.Errorf("read\n%+v\nencoding/json reads\n%+v, %v", s, want, err)
			}
		}
		encoded := s.Encode()
		again, err := ParseSession(encoded)
		if err != nil {
			t.Fatalf("%s does not come back: %v", encoded, err)
		}
		if !reflect.DeepEqual(empty(again), empty(s)) {
			t.Errorf("written\n%+v\nread\n%+v", s, again)
		}
		byReference, err := encode(s)
		if err != nil {
			t.Fatal(err)
		}
		var compact bytes.Buffer
		if err := json.Compact(&compact, encoded); err != nil || !bytes.Equal(compact.Bytes(), byReference) {
			t.Errorf("written\n%s\nencoding/json writes\n%s", encoded, byReference)
		}
	})
}

// plainMembers says that all members are those of a session, each there once and
// none null: encoding/json takes other names for them, in capitals, merges two
// of one name and leaves null out.
func plainMembers(stored []byte) bool {
	if hasNull(stored) {
		return false
	}
	seen := map[string]bool{}
	for c := within(stored); c.more(); c.value() {
		name := string(c.name())
		if seen[name] || name != "" && !strings.Contains("vdnspaltciumxr", name) {
			return false
		}
		seen[name] = true
	}
	return true
}

// empty takes the difference between no map and an empty one away.
func empty(s *Session) Session {
	e := *s
	if len(e.Path) == 0 {
		e.Path = nil
	}
	e.Answers, e.Latest, e.Vars, e.Shown = maps.Clone(e.Answers), maps.Clone(e.Latest), maps.Clone(e.Vars), maps.Clone(e.Shown)
	if len(e.Answers) == 0 {
		e.Answers = nil
	}
	if len(e.Latest) == 0 {
		e.Latest = nil
	}
	if len(e.Vars) == 0 {
		e.Vars = nil
	}
	if len(e.Shown) == 0 {
		e.Shown = nil
	}
	return e
}
