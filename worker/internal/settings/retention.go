package settings

import (
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/setting"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/worker/internal/store"
)

const (
	// defaultRetention is in days. Meta itself redelivers a webhook for a week.
	defaultRetention = 90

	longestRetention = 36500
)

// readRetention reads RETENTION_EVENTS_DAYS and RETENTION_ATTEMPTS_DAYS; 0 keeps
// for ever.
func readRetention(src setting.Source) (r store.Retention, err error) {
	if r.Events, err = number(src, "RETENTION_EVENTS_DAYS", defaultRetention, 0, longestRetention, "days"); err != nil {
		return r, err
	}
	r.Attempts, err = number(src, "RETENTION_ATTEMPTS_DAYS", defaultRetention, 0, longestRetention, "days")
	return r, err
}
