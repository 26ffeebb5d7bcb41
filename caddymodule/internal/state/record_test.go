package state

import (
	"testing"
	"time"
)

func TestRecordReadsBackWhatWasWritten(t *testing.T) {
	for name, c := range map[string]struct{ session, reply string }{
		"plain":         {`{"a":1}`, `{"screen":"B"}`},
		"empty session": {"", "B"},
		"empty reply":   {"{}", ""},
		"line breaks":   {"{\n}", "\n\n"},
		"zero bytes":    {"\x00", "\x00 \x00"},
	} {
		t.Run(name, func(t *testing.T) {
			raw := appendRecord(nil, 7, 72*time.Hour, "abc", []byte(c.session), []byte(c.reply))
			r, err := parseRecord(raw)
			if err != nil || r.version != 7 || string(r.session) != c.session || string(r.reply) != c.reply {
				t.Errorf("%q is read as %+v, %v", raw, r, err)
			}
		})
	}
}

func TestDamagedRecordIsRefused(t *testing.T) {
	for name, raw := range map[string]string{
		"not a record":            "{}",
		"too few fields":          "1 2 3\n{}",
		"version zero":            "0 1000 2 s\n{}",
		"version no number":       "x 1000 2 s\n{}",
		"length beyond the end":   "1 1000 3 s\n{}",
		"negative length":         "1 1000 -1 s\n{}",
		"header without an end":   "1 1000 0 s",
		"header's end is missing": "1 1000 2 s{}",
	} {
		t.Run(name, func(t *testing.T) {
			if r, err := parseRecord([]byte(raw)); err == nil {
				t.Errorf("%q is read as %+v", raw, r)
			}
		})
	}
	if r, err := parseRecord(nil); err != nil || r.version != 0 || r.session != nil {
		t.Errorf("no record is read as %+v, %v, expected no session", r, err)
	}
}

func FuzzRecord(f *testing.F) {
	f.Add([]byte("1 1000 2 step\n{}reply"))
	f.Add([]byte("9 0 0 \n"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		r, err := parseRecord(raw)
		if err != nil || len(raw) == 0 {
			return
		}
		again, err := parseRecord(appendRecord(nil, r.version, time.Hour, "step", r.session, r.reply))
		if err != nil || again.version != r.version || string(again.session) != string(r.session) || string(again.reply) != string(r.reply) {
			t.Errorf("%q is read as %+v, and that as %+v, %v", raw, r, again, err)
		}
	})
}

func FuzzStored(f *testing.F) {
	f.Add([]byte("200body"))
	f.Add([]byte("42"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		s, err := decodeStored(raw)
		if err != nil {
			return
		}
		if again, err := decodeStored(s.append(nil)); s.Status >= 100 && (err != nil || again.Status != s.Status || string(again.Body) != string(s.Body)) {
			t.Errorf("%q is read as %+v, and that as %+v, %v", raw, s, again, err)
		}
	})
}
