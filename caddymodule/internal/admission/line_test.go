package admission

import (
	"slices"
	"testing"
	"time"
)

const (
	ms     = time.Millisecond
	within = 500 * ms
)

// crowd has requests come as independent users send them, each needing an
// operation of about `takes`, for a number of seconds; one of a hundred is a ping.
func crowd(d *day, seconds int, load float64, takes time.Duration) []*visit {
	r := random()
	between := time.Duration(float64(takes) / float64(d.line.slots) / load)
	first := len(d.visits)
	for end := d.now.Add(time.Duration(seconds) * time.Second); d.now.Before(end); {
		class := Other
		if r.IntN(100) == 0 {
			class = Ping
		}
		d.comes(exponential(r, between), class, takes/2+exponential(r, takes/2))
	}
	return d.visits[first:]
}

func TestAtTwiceTheCapacityNothingOfItIsLost(t *testing.T) {
	for _, slots := range []int{1, 2, 16} {
		const seconds, takes = 20, ms
		d := newDay(t, slots, within)
		visits := crowd(d, seconds, 2, takes)
		d.ends()

		capacity := float64(slots) * float64(time.Second/takes) * seconds
		served, late := 0.0, 0
		var longest, longestPing time.Duration
		for _, v := range visits {
			switch {
			case v.served && v.class == Ping:
				served++
				longestPing = max(longestPing, v.waited)
			case v.served:
				served++
				longest = max(longest, v.waited)
			case v.class == Ping:
				t.Errorf("%d slots: a ping was turned away", slots)
			case !v.atOnce:
				late++
			}
		}
		if share := served / capacity; share < 0.98 {
			t.Errorf("%d slots: %.1f %% of the capacity was used, expected 98 at least", slots, 100*share)
		}
		if longest > within || longest < within/4 {
			t.Errorf("%d slots: the longest wait was %s, expected a line of %s to %s", slots, longest, within/4, within)
		}
		if longestPing > 20*ms {
			t.Errorf("%d slots: a ping waited %s, expected a few operations of %s", slots, longestPing, takes)
		}
		if late > 0 {
			t.Errorf("%d slots: %d were turned away only after they had waited", slots, late)
		}
	}
}

func TestBelowTheCapacityNobodyIsTurnedAway(t *testing.T) {
	d := newDay(t, 2, within)
	for i, v := range crowd(d, 20, 0.9, ms) {
		if !v.served && !v.waiting {
			t.Fatalf("request %d was turned away", i)
		}
	}
}

func TestABurstIsServedWholeWhenThereIsTime(t *testing.T) {
	for name, c := range map[string]struct {
		burst, served int
	}{
		"100 users at once":    {100, 100},
		"10 000 users at once": {10_000, 500}, // 2 slots, 1 ms each, 250 ms
	} {
		t.Run(name, func(t *testing.T) {
			d := newDay(t, 2, within)
			for range c.burst {
				d.comes(0, Other, ms)
			}
			d.ends()
			if served := len(d.served); served < c.served || served > c.served+3 {
				t.Errorf("%d were served, expected about %d", served, c.served)
			}
		})
	}
}

func TestPingsAndOthersTakeTurnsAndPingsBegin(t *testing.T) {
	for name, c := range map[string]struct{ come, served string }{
		"one ping overtakes all who wait": {"oooop", "opooo"},
		"each class keeps its order":      {"oopop", "opopo"},
		"a flood of pings lets others in": {"oppppoo", "opopopp"},
		"pings alone":                     {"pppp", "pppp"},
	} {
		t.Run(name, func(t *testing.T) {
			d := newDay(t, 1, within)
			var came [classes][]*visit
			for _, letter := range c.come {
				class := Other
				if letter == 'p' {
					class = Ping
				}
				came[class] = append(came[class], d.comes(0, class, ms))
			}
			d.ends()
			var served string
			var order [classes][]*visit
			for _, v := range d.served {
				served += map[Class]string{Ping: "p", Other: "o"}[v.class]
				order[v.class] = append(order[v.class], v)
			}
			if served != c.served {
				t.Errorf("served in the order %s, expected %s", served, c.served)
			}
			for class := range order {
				if !slices.Equal(order[class], came[class]) {
					t.Errorf("class %d was not served in the order in which it came", class)
				}
			}
		})
	}
}

func TestTheLineFitsWhatOperationsTakeNow(t *testing.T) {
	d := newDay(t, 1, within)
	for _, takes := range []time.Duration{ms, 10 * ms, ms, 100 * time.Microsecond} {
		crowd(d, 3, 2, takes)
		want := int(within / 2 / takes)
		if got := d.line.waiting[Other].length; got < want*7/10 || got > want*13/10 {
			t.Errorf("with operations of %s, %d wait, expected about %d", takes, got, want)
		}
	}
}

func TestATenfoldSlowerOperationIsKnownAfterAHundredDepartures(t *testing.T) {
	for name, c := range map[string]struct{ before, after time.Duration }{
		"slower": {ms, 10 * ms},
		"faster": {ms, ms / 10},
	} {
		t.Run(name, func(t *testing.T) {
			l := newLine(1)
			now := time.Unix(0, 0)
			depart := func(times int, takes time.Duration) {
				for range times {
					l.enter(now)
					now = now.Add(takes)
					l.leave(now)
				}
			}
			depart(100, c.before)
			depart(200, c.after)
			if l.interval < c.after*9/10 || l.interval > c.after*11/10 {
				t.Errorf("an operation is taken to need %s, expected %s", l.interval, c.after)
			}
		})
	}
}

func TestOneStallTurnsAShortLineNotAway(t *testing.T) {
	d := newDay(t, 1, within)
	crowd(d, 1, 0.5, ms)
	d.ends()
	d.comes(0, Other, 50*ms)
	for i := range 40 { // while it lasts, and after it
		if v := d.comes(3*ms/2, Other, ms); v.atOnce {
			t.Fatalf("request %d during or after a stall of 50 ms was turned away", i)
		}
	}
	d.ends()
}

func TestWhenNothingEndsNewcomersAreTurnedAwayAtOnce(t *testing.T) {
	d := newDay(t, 1, within)
	d.comes(0, Other, time.Hour)
	if v := d.comes(ms, Other, ms); !v.waiting {
		t.Fatal("the first was turned away, expected it to wait")
	}
	if v := d.comes(within/2+2*ms, Ping, ms); !v.atOnce {
		t.Error("a ping was let in after nothing had ended for long")
	}
}

func TestWhoHasWaitedTooLongDoesNotCostAnOperation(t *testing.T) {
	d := newDay(t, 1, within)
	d.comes(0, Other, 2*within)
	tooLong := d.comes(ms, Other, ms)
	second := d.comes(ms, Other, ms)
	d.ends()
	if tooLong.served || second.served || len(d.served) != 1 {
		t.Errorf("%d were served, expected only the first: the others had waited for longer than they may", len(d.served))
	}
}

func TestALongStallIsForgotten(t *testing.T) {
	d := newDay(t, 2, within)
	d.comes(0, Other, time.Minute)
	d.comes(0, Other, time.Minute)
	d.ends()
	// Requests that find a slot free are served whatever is believed of the line;
	// each teaches it.
	for range 1000 {
		d.comes(ms, Other, 2*ms)
	}
	if v := d.comes(0, Other, ms); v.atOnce {
		t.Errorf("1000 operations of 2 ms after the stall, an interval of %s is still expected", d.line.interval)
	}
}

// FuzzLine has requests come, last and give up as the input says. What must hold at
// every moment is in day.check.
func FuzzLine(f *testing.F) {
	f.Add(uint8(1), []byte("a ping and others come and go"))
	f.Add(uint8(2), []byte{0, 0, 0, 0, 255, 255, 3, 3, 3, 7, 7, 7, 128, 64, 32})
	f.Fuzz(func(t *testing.T, slots uint8, input []byte) {
		d := newDay(t, max(1, int(slots%8)), 50*ms)
		for i := 0; i+2 < len(input); i += 3 {
			v := d.comes(time.Duration(input[i])*100*time.Microsecond, Class(input[i+1]&1), time.Duration(input[i+2])*100*time.Microsecond)
			if v.waiting && input[i+1]&6 == 6 {
				d.givesUp(v)
			}
		}
		d.ends()
		for _, v := range d.visits {
			if v.served && v.waited > d.within {
				t.Fatalf("one was served after it had waited %s, expected at most %s", v.waited, d.within)
			}
		}
	})
}
