package endpoint

import (
	"strings"
	"time"
)

// Ping is what came of a test event.
type Ping struct {
	Status   int    // 0: none came
	Problem  string // why it counts as failed; empty: it does not
	Took     time.Duration
	Response []byte // the beginning of it
}

// Delivered says whether the receiver took it.
func (p Ping) Delivered() bool { return p.Problem == "" && p.Status >= 200 && p.Status <= 299 }

// ResponseText is what the receiver answered, as text whatever it is.
func (p Ping) ResponseText() string {
	const longest = 4 << 10
	return strings.ReplaceAll(strings.ToValidUTF8(string(p.Response[:min(len(p.Response), longest)]), "\uFFFD"), "\x00", "\uFFFD")
}
