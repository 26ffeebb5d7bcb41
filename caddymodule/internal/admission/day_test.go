package admission

import (
	"container/heap"
	"math/rand/v2"
	"testing"
	"time"
)

// day is a simulated server: requests come at given moments, and the operation of
// each takes a given time. Nothing in it waits for a real clock.
type day struct {
	t      testing.TB
	line   line
	now    time.Time
	within time.Duration

	running endings
	inLine  map[*waiter]*visit
	served  []*visit // in the order in which they got a slot
	visits  []*visit
}

// visit is one request and what became of it.
type visit struct {
	at    time.Time
	class Class
	takes time.Duration

	waited  time.Duration
	served  bool
	atOnce  bool // turned away at once
	waiting bool
}

// endings are when the operations that run end, the next one first.
type endings []time.Time

func (e endings) Len() int           { return len(e) }
func (e endings) Less(i, j int) bool { return e[i].Before(e[j]) }
func (e endings) Swap(i, j int)      { e[i], e[j] = e[j], e[i] }
func (e *endings) Push(x any)        { *e = append(*e, x.(time.Time)) }
func (e *endings) Pop() any {
	last := (*e)[len(*e)-1]
	*e = (*e)[:len(*e)-1]
	return last
}

func newDay(t testing.TB, slots int, within time.Duration) *day {
	return &day{t: t, line: newLine(slots), now: time.Unix(0, 0), within: within, inLine: make(map[*waiter]*visit)}
}

// comes lets the time go on until a request comes.
func (d *day) comes(after time.Duration, class Class, takes time.Duration) *visit {
	at := d.now.Add(after)
	d.until(at)
	d.now = at
	v := &visit{at: at, class: class, takes: takes}
	d.visits = append(d.visits, v)
	switch {
	case d.line.enter(d.now):
		d.serve(v)
	case d.line.full(class, d.within, d.now):
		v.atOnce = true
	default:
		w := &waiter{class: class, within: d.within}
		d.line.join(w, d.now)
		d.inLine[w], v.waiting = v, true
	}
	d.check()
	return v
}

func (d *day) serve(v *visit) {
	v.served, v.waiting = true, false
	v.waited = d.now.Sub(v.at)
	d.served = append(d.served, v)
	heap.Push(&d.running, d.now.Add(v.takes))
}

// until ends the operations that end before a moment.
func (d *day) until(at time.Time) {
	for len(d.running) > 0 && !d.running[0].After(at) {
		d.now = heap.Pop(&d.running).(time.Time)
		for w := d.line.leave(d.now); w != nil; w = w.next {
			v := d.inLine[w]
			delete(d.inLine, w)
			if v.waiting = false; w.granted {
				d.serve(v)
			} else {
				v.waited = w.waited
			}
		}
		d.check()
	}
}

// givesUp takes a waiting request out.
func (d *day) givesUp(v *visit) {
	for w, other := range d.inLine {
		if other == v {
			if !d.line.quit(w) {
				d.t.Fatal("a request that waits could not leave the line")
			}
			delete(d.inLine, w)
			v.waiting = false
		}
	}
	d.check()
}

// ends lets everything that runs or waits come to its end.
func (d *day) ends() {
	for len(d.running) > 0 {
		d.until(d.running[0])
	}
	if len(d.inLine) != 0 || d.line.running != 0 {
		d.t.Fatalf("at the end %d wait and %d run, expected none", len(d.inLine), d.line.running)
	}
}

// check holds at every moment.
func (d *day) check() {
	l := &d.line
	waiting := l.waiting[Ping].length + l.waiting[Other].length
	switch {
	case l.running != len(d.running) || l.running > l.slots:
		d.t.Fatalf("%d run and %d are counted, of %d slots", len(d.running), l.running, l.slots)
	case waiting != len(d.inLine):
		d.t.Fatalf("%d wait and %d are counted", len(d.inLine), waiting)
	case waiting > 0 && l.running < l.slots:
		d.t.Fatalf("%d wait while %d of %d slots are taken", waiting, l.running, l.slots)
	case l.interval < 0:
		d.t.Fatalf("the interval is %s", l.interval)
	}
}

// random is a source of numbers that is the same in every run.
func random() *rand.Rand { return rand.New(rand.NewPCG(1, 2)) }

// exponential is a random duration with this mean, as between independent arrivals.
func exponential(r *rand.Rand, mean time.Duration) time.Duration {
	return time.Duration(r.ExpFloat64() * float64(mean))
}
