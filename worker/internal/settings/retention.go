package settings

import (
	"fmt"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/setting"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/worker/internal/store"
)

const (
	// defaultRetention is in days. Meta itself redelivers a webhook for a week.
	defaultRetention = 90

	// shortestRetention is longer than the 76 hours for which a delivery is tried.
	shortestRetention = 4
	longestRetention  = 36500
)

// readRetention reads RETENTION_EVENTS_DAYS and RETENTION_ATTEMPTS_DAYS; 0 keeps
// for ever.
func readRetention(src setting.Source) (r store.Retention, err error) {
	if r.Events, err = days(src, "RETENTION_EVENTS_DAYS"); err != nil {
		return r, err
	}
	r.Attempts, err = days(src, "RETENTION_ATTEMPTS_DAYS")
	return r, err
}

func days(src setting.Source, name string) (int, error) {
	n, err := number(src, name, defaultRetention, 0, longestRetention, "days")
	if err == nil && 0 < n && n < shortestRetention {
		err = fmt.Errorf("%s is %d, expected at least %d, or 0 to keep for ever: a delivery is tried for more than three days", name, n, shortestRetention)
	}
	return n, err
}
