package caddymodule

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// editions are the booking flow as edited again and again: in edition B every
// screen ends in _B, and its logic calls everybody B, so that each reply tells
// which edition it is of.
const editions = "ABCDEFGHIJ"

func edition(t testing.TB, letter byte) []byte {
	t.Helper()
	text := bookingJSON(t)
	for _, screen := range []string{"NAME", "ROOM", "CONFIRM"} {
		text = bytes.ReplaceAll(text, fmt.Appendf(nil, "%q", screen), fmt.Appendf(nil, "%q", screen+"_"+string(letter)))
	}
	return text
}

func TestAFlowIsEditedWhileUsersAreInIt(t *testing.T) {
	const users = 4
	s := newSite(t)
	s.publishLogic("default", "booking", edition(t, editions[0]), editionLogic(editions[0]))
	s.load("", publishedSite)

	var newest atomic.Int32 // index of the edition that is surely served
	var sessions atomic.Int64
	var stop atomic.Bool
	var all sync.WaitGroup
	for user := range users {
		all.Go(func() {
			token := fmt.Sprint("user-", user)
			for !stop.Load() {
				if err := oneSession(s, token, &newest); err != nil {
					t.Error(err)
					return
				}
				sessions.Add(1)
			}
		})
	}
	t.Cleanup(all.Wait) // before the site ends, also when the test fails
	t.Cleanup(func() { stop.Store(true) })
	others := func(n int64) {
		t.Helper()
		before := sessions.Load()
		eventually(t, 20*time.Second, "users finish the form", func() bool {
			return t.Failed() || sessions.Load() >= before+n
		})
	}
	others(users)
	for i := 1; i < len(editions) && !t.Failed(); i++ {
		// An edit that cannot work changes nothing …
		broken := map[string]string{
			"logic": `{"v":1,"flow_json":` + quoted(t, edition(t, editions[i])) + `,"logic":"screens: { NOPE: { close: true } }"}`,
			"flow":  `{"v":1,"flow_json":"{\"screens\":[` + string(editions[i]) + `]}"}`,
			"other": `{"v":99}`,
		}[[]string{"logic", "flow", "other"}[i%3]]
		s.publishDocument("default", "booking", []byte(broken))
		others(users)
		if screen := opening(t, s); screen != "NAME_"+string(editions[i-1]) {
			t.Fatalf("after a broken edition INIT shows %s, expected the one before, %c", screen, editions[i-1])
		}
		// … and one that can is what the next to open the form get.
		s.publishLogic("default", "booking", edition(t, editions[i]), editionLogic(editions[i]))
		eventually(t, 2*time.Second, "the new edition is served", func() bool {
			return opening(t, s) == "NAME_"+string(editions[i])
		})
		newest.Store(int32(i))
		others(users)
	}
	if sessions.Load() < int64(users*len(editions)) {
		t.Errorf("only %d sessions", sessions.Load())
	}
}

func editionLogic(letter byte) []byte {
	return fmt.Appendf(nil, `screens: { ROOM_%c: { data: { name: "'%c'" } } }`, letter, letter)
}

func quoted(t testing.TB, text []byte) string {
	t.Helper()
	out, err := json.Marshal(string(text))
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

// opening is the screen that a new user gets.
func opening(t testing.TB, s *site) string {
	t.Helper()
	e := seal(t, s.public, step("INIT", "", rand.Text(), nil))
	a, err := s.try(http.MethodPost, booking, signed(e.body), e.body)
	if err != nil || a.status != http.StatusOK {
		t.Fatalf("INIT: status %d, %v", a.status, err)
	}
	screen, _ := e.open(t, a)["screen"].(string)
	return screen
}

// oneSession fills the form in, from INIT to SUCCESS. Whatever is published
// meanwhile, it stays in one edition, and none older than was served before.
func oneSession(s *site, token string, newest *atomic.Int32) error {
	least := newest.Load()
	suffix := ""
	ask := func(r request, shows string) error {
		e := seal(s.t, s.public, r)
		a, err := s.try(http.MethodPost, booking, signed(e.body), e.body)
		if err != nil || a.status != http.StatusOK {
			return fmt.Errorf("%s from %v: status %d, %w", r["action"], r["screen"], a.status, err)
		}
		reply := e.open(s.t, a)
		screen, _ := reply["screen"].(string)
		data, _ := reply["data"].(map[string]any)
		if suffix == "" {
			suffix = strings.TrimPrefix(screen, "NAME_")
			if i := strings.Index(editions, suffix); len(suffix) != 1 || int32(i) < least {
				return fmt.Errorf("INIT shows %s although edition %c was served before", screen, editions[least])
			}
		}
		want := shows
		if want != "SUCCESS" {
			want += "_" + suffix
		}
		if screen != want {
			return fmt.Errorf("a session of edition %s got the screen %s, expected %s", suffix, screen, want)
		}
		if shows == "ROOM" && data["name"] != suffix {
			return fmt.Errorf("a session of edition %s is run by the logic of %v", suffix, data["name"])
		}
		if data["error_message"] != nil {
			return fmt.Errorf("screen %s: fallback %v", screen, data)
		}
		return nil
	}
	if err := ask(step("INIT", "", token, nil), "NAME"); err != nil {
		return err
	}
	for _, next := range []struct {
		screen, key, shows string
	}{{"NAME", "name", "ROOM"}, {"ROOM", "room", "CONFIRM"}, {"CONFIRM", "agreed", "SUCCESS"}} {
		r := step("data_exchange", next.screen+"_"+suffix, token, request{next.key: privateAnswer})
		if err := ask(r, next.shows); err != nil {
			return err
		}
	}
	return nil
}
