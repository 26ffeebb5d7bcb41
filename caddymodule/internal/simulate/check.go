package simulate

import (
	"errors"
	"fmt"
	"math"
)

// isLoad says whether the options ask for a load. A rate or a number of users
// that is no such thing does too, so that it is refused as one.
func (o *Options) isLoad() bool { return o.Users != 0 || o.Rate != 0 }

// check refuses what makes no run, and flags that say nothing in the kind of run
// that the others ask for: one that is silently passed over looks as if it held.
func (o *Options) check() error {
	switch {
	case o.Timeout <= 0:
		return fmt.Errorf("--timeout is %s, expected a time; WhatsApp waits for 10s", o.Timeout)
	case o.Users < 0:
		return fmt.Errorf("--users is %d, expected how many hold conversations at a time", o.Users)
	case o.Rate < 0 || math.IsNaN(o.Rate) || math.IsInf(o.Rate, 0):
		return fmt.Errorf("--rate is %v, expected requests a second; 0 is as many as go", o.Rate)
	case o.isLoad() && o.Duration <= 0:
		return fmt.Errorf("--duration is %s, expected how long the load is to last", o.Duration)
	case o.WebhookCopies < 1:
		return fmt.Errorf("--webhook-copies is %d, expected at least 1", o.WebhookCopies)
	case o.WebhookDelay < 0:
		return fmt.Errorf("--webhook-delay is %s, expected how long to wait", o.WebhookDelay)
	case o.Webhook == "" && (o.WebhookCopies > 1 || o.WebhookDelay > 0 || o.WebhookShuffle):
		return errors.New("--webhook-copies, --webhook-delay and --webhook-shuffle say how webhooks are sent: give --webhook, the URL that gets them")
	}
	kind, scripted, interactive := "a load (--users, --rate)", false, false
	if !o.isLoad() {
		scripted = o.Script != ""
		interactive = !scripted
		kind = "a script (--script)"
		if interactive {
			kind = "the phone in the terminal"
		}
	}
	for _, flag := range []struct {
		name     string
		given    bool
		belongs  bool
		belongTo string
	}{
		{"--junit", o.JUnit != "", scripted, "a script"},
		{"--quiet", o.Quiet, scripted, "a script"},
		{"--json", o.JSON, !interactive, "a script or a load"},
		{"--report", o.Report, scripted || interactive, "a script or the phone in the terminal"},
		{"--token", o.Token != "", interactive, "the phone in the terminal"},
		{"--screen", o.Screen != "", interactive, "the phone in the terminal"},
		{"--data", o.Data != "", interactive, "the phone in the terminal"},
		{"--save", o.Save != "", interactive, "the phone in the terminal"},
		{"--data", o.Data != "", o.Screen != "", "a message that names its first screen (--screen)"},
	} {
		if flag.given && !flag.belongs {
			return fmt.Errorf("%s belongs to %s, and this is %s", flag.name, flag.belongTo, kind)
		}
	}
	return nil
}
