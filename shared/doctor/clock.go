package doctor

import (
	"fmt"
	"time"
)

// The differences of clocks from which they count. Meta's tokens and TLS bear
// minutes; signed tokens, leases and the order of events suffer sooner.
const (
	clockWarn = 5 * time.Second
	clockFail = 30 * time.Second
)

// Clock compares this machine's clock with another's, which was read between
// before and after. precision is how exactly the other tells: an HTTP date has
// whole seconds.
func Clock(other string, before, after, theirs time.Time, precision time.Duration) Finding {
	name := "clock: against " + other
	// theirs was read somewhere in between, and is cut down to precision.
	ahead := before.Sub(theirs.Add(precision)) // we are ahead by at least that
	behind := theirs.Sub(after)
	apart, which := max(ahead, behind, 0), "ahead of"
	if behind > ahead {
		which = "behind"
	}
	if apart < clockWarn {
		return Fine(name, "less than %s apart", clockWarn)
	}
	f := Failed(name, fmt.Sprintf("this machine is %s %s it", apart.Round(time.Second), which),
		"signed flow tokens end too early or too late, times of answers and deliveries are wrong, and far enough off no TLS certificate holds",
		"set the clock by NTP (chrony or systemd-timesyncd) on both machines")
	if apart < clockFail {
		f.Status = Warn
	}
	return f
}
