package presence

import (
	"strings"
	"testing"
	"time"
)

var example = Edge{
	Host: "edge-1", PID: 7, Version: "v1.2.3", PrivateKeyBackend: "crypto/rsa",
	Started: time.Date(2026, 11, 23, 8, 0, 0, 0, time.UTC),
}

func TestAnEdgeIsWrittenWithoutATime(t *testing.T) {
	e := example
	e.Seen = 5 // a clock of the edge's own would not count
	want := `{"host":"edge-1","pid":7,"version":"v1.2.3","private_key_backend":"crypto/rsa","started":"2026-11-23T08:00:00Z"}`
	if got := string(e.Encode()); got != want {
		t.Errorf("encoded as %s, expected %s", got, want)
	}
}

func TestWhatIsReadOfAnEdge(t *testing.T) {
	whole := `{"seen":1795420800000,` + string(example.Encode())[1:]
	for name, c := range map[string]struct {
		value, err string
	}{
		"as it was written":          {value: whole},
		"with a field of later":      {value: `{"later":[1],` + whole[1:]},
		"empty":                      {"", "no JSON object"},
		"no JSON":                    {"seen long ago", "no JSON object"},
		"cut off":                    {whole[:40], "no JSON object"},
		"another type":               {`{"seen":"yesterday"}`, "no JSON object"},
		"a list":                     {`[1]`, "no JSON object"},
		"without a time":             {string(example.Encode()), "no time in seen"},
		"without a backend":          {`{"seen":1}`, "no private_key_backend"},
		"larger than any edge's own": {whole + strings.Repeat(" ", MaxSize), "expected at most 4096"},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := Decode(c.value)
			if c.err != "" {
				if err == nil || !strings.Contains(err.Error(), c.err) {
					t.Errorf("error %v, expected %q", err, c.err)
				}
				return
			}
			want := example
			want.Seen = 1795420800000
			if err != nil || got != want {
				t.Errorf("read %+v, %v; expected %+v", got, err, want)
			}
		})
	}
}

func FuzzDecode(f *testing.F) {
	f.Add(`{"seen":1,"private_key_backend":"crypto/rsa"}`)
	f.Add(`{"seen":1,"host":"a","pid":1,"version":"v","private_key_backend":"x","started":"2026-11-23T08:00:00+01:00"}`)
	f.Add(`{"seen":-1}`)
	f.Add(`null`)
	f.Fuzz(func(t *testing.T, value string) {
		e, err := Decode(value)
		if err != nil {
			return
		}
		again, err := Decode(`{"seen":1,` + string(e.Encode())[1:])
		if err != nil {
			t.Fatalf("what was read cannot be written and read again: %v", err)
		}
		if e.Seen = 1; !again.Started.Equal(e.Started) {
			t.Errorf("read %+v, then %+v", e, again)
		}
		again.Started = e.Started
		if again != e {
			t.Errorf("read %+v, then %+v", e, again)
		}
	})
}
