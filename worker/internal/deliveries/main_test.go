package deliveries

import (
	"testing"
	"time"

	"github.com/google/uuid"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestAnIDIsNotBelowItsTime(t *testing.T) {
	t.Parallel()
	before := time.Now()
	id := uuid.Must(uuid.NewV7())
	after := time.Now().Add(time.Millisecond)
	for name, c := range map[string]struct {
		got, want bool
	}{
		"made then or later": {idAt(before).String() <= id.String(), true},
		"made before":        {id.String() < idAt(after).String(), true},
		"before 1970":        {idAt(time.Unix(-1, 0)) == uuid.Nil, true},
	} {
		if c.got != c.want {
			t.Errorf("%s: %t", name, c.got)
		}
	}
}

func TestWhatWasCutOrIsNoTextIsLegible(t *testing.T) {
	t.Parallel()
	for given, want := range map[string]string{"": "", "é": "é", "aé"[:2]: "a", "a\xff": "a\uFFFD", "\x00": "\uFFFD", "日本"[:5]: "日", "\xf0\x9f\x98": ""} {
		if got := legible([]byte(given)); got != want {
			t.Errorf("%q: %q, want %q", given, got, want)
		}
	}
}
