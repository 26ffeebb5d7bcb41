package admission

import "time"

const (
	// firstGuess is what an operation is taken to need until some have been
	// measured: about a private operation of Go's own RSA on a slow core.
	firstGuess = time.Millisecond

	// memory is over how many departures the interval between them is
	// averaged: long enough that one stall of 50 ms (a collection, a
	// neighbour's core) does not turn a short line away, short enough that a
	// tenfold change is known after about 100 departures, a fraction of a
	// second.
	memory = 32
)

// line decides who runs, who waits and who is turned away. It knows no clock, no
// lock and no goroutine: every moment is passed in, and none may be before the
// last.
type line struct {
	slots   int
	running int
	waiting [classes]lane // only while every slot is taken
	// pingLast says that the last slot that was passed on went to a ping.
	pingLast bool
	// interval is the mean time between two departures while every slot is
	// taken. It is measured and not derived from what an operation costs: the
	// processor is shared with all the rest of this machine.
	interval time.Duration
	// since is when the last departure was, or when the last free slot was
	// taken. It means nothing while a slot is free.
	since time.Time
}

func newLine(slots int) line {
	return line{slots: slots, interval: firstGuess / time.Duration(slots)}
}

// waiter is one who waits, or has waited, for a slot.
type waiter struct {
	class  Class
	since  time.Time
	within time.Duration

	next, prev *waiter
	queued     bool

	// What became of it, once it is woken.
	granted bool
	waited  time.Duration

	answer chan bool // by which the Gate wakes it; has room for one
}

// enter takes a slot if one is free.
func (l *line) enter(now time.Time) bool {
	if l.running == l.slots {
		return false
	}
	if l.running++; l.running == l.slots {
		l.since = now
	}
	return true
}

// full says that a newcomer who may wait for within must be turned away: it would
// wait for more than half of that. The other half is for the estimate's errors,
// and for pings that come later.
func (l *line) full(class Class, within time.Duration, now time.Time) bool {
	return l.running == l.slots && l.wait(class, now) > within/2
}

// wait is how long a newcomer would wait. All slots are taken.
func (l *line) wait(class Class, now time.Time) time.Duration {
	pings, others := l.waiting[Ping].length, l.waiting[Other].length
	// Pings and others take turns, so whoever is ahead in one class lets about
	// as many of the other pass.
	ahead := others + min(pings, others+1)
	if class == Ping {
		ahead = pings + min(pings+1, others)
	}
	// A departure that is overdue is late for everyone, once.
	overdue := max(0, now.Sub(l.since)-l.interval)
	return overdue + time.Duration(ahead+1)*l.interval
}

// join puts a newcomer at the end of its class.
func (l *line) join(w *waiter, now time.Time) {
	w.since, w.queued = now, true
	l.waiting[w.class].push(w)
}

// quit takes a waiter out before its turn. It is false when it was woken already.
func (l *line) quit(w *waiter) bool {
	if !w.queued {
		return false
	}
	l.waiting[w.class].remove(w)
	return true
}

// leave ends an operation and passes its slot on. It returns those to wake, linked
// by next: any who have waited too long, then the one whose turn it is.
func (l *line) leave(now time.Time) (woken *waiter) {
	if l.running == 0 {
		panic("admission: Leave without Enter")
	}
	if l.running < l.slots {
		l.running--
		return nil
	}
	l.interval += (now.Sub(l.since) - l.interval) / memory
	l.since = now
	end := &woken
	for {
		w := l.pop()
		if w == nil {
			l.running--
			return woken
		}
		*end, end = w, &w.next
		w.waited = now.Sub(w.since)
		if w.granted = w.waited <= w.within; w.granted {
			l.pingLast = w.class == Ping
			return woken
		}
	}
}

// pop takes out the next in turn: a ping, unless others wait and the last was a
// ping too. WhatsApp sends few pings. Whoever makes a modified client send many
// requests as short as a ping shall not keep all others out.
func (l *line) pop() *waiter {
	from := &l.waiting[Other]
	if l.waiting[Ping].length > 0 && (from.length == 0 || !l.pingLast) {
		from = &l.waiting[Ping]
	}
	w := from.first
	if w != nil {
		from.remove(w)
	}
	return w
}

// lane is a queue, first in, first out, that anyone in it can leave.
type lane struct {
	first, last *waiter
	length      int
}

func (q *lane) push(w *waiter) {
	w.prev, w.next = q.last, nil
	if q.last == nil {
		q.first = w
	} else {
		q.last.next = w
	}
	q.last = w
	q.length++
}

func (q *lane) remove(w *waiter) {
	if w.prev == nil {
		q.first = w.next
	} else {
		w.prev.next = w.next
	}
	if w.next == nil {
		q.last = w.prev
	} else {
		w.next.prev = w.prev
	}
	w.next, w.prev, w.queued = nil, nil, false
	q.length--
}
