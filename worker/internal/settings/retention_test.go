package settings

import (
	"strings"
	"testing"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/worker/internal/store"
)

func TestRetention(t *testing.T) {
	for name, c := range map[string]struct {
		env     env
		want    store.Retention
		refused string
	}{
		"unset":             {nil, store.Retention{Events: 90, Attempts: 90}, ""},
		"both":              {env{"RETENTION_EVENTS_DAYS": "30", "RETENTION_ATTEMPTS_DAYS": "7"}, store.Retention{Events: 30, Attempts: 7}, ""},
		"for ever":          {env{"RETENTION_EVENTS_DAYS": "0"}, store.Retention{Attempts: 90}, ""},
		"less than nothing": {env{"RETENTION_EVENTS_DAYS": "-1"}, store.Retention{}, `RETENTION_EVENTS_DAYS is "-1", expected a number of days from 0 to 36500`},
		"too short for what is delivered": {env{"RETENTION_EVENTS_DAYS": "3"}, store.Retention{},
			"RETENTION_EVENTS_DAYS is 3, expected at least 4, or 0 to keep for ever"},
		"too short for what was delivered": {env{"RETENTION_ATTEMPTS_DAYS": "1"}, store.Retention{}, "RETENTION_ATTEMPTS_DAYS is 1, expected at least 4"},
		"the shortest":                     {env{"RETENTION_EVENTS_DAYS": "4", "RETENTION_ATTEMPTS_DAYS": "4"}, store.Retention{Events: 4, Attempts: 4}, ""},
		"with a unit":                      {env{"RETENTION_ATTEMPTS_DAYS": "90d"}, store.Retention{}, `RETENTION_ATTEMPTS_DAYS is "90d", expected a number of days from 0 to 36500`},
	} {
		t.Run(name, func(t *testing.T) {
			s, err := ReadServe(with(c.env).source())
			if c.refused != "" {
				if err == nil || !strings.Contains(err.Error(), c.refused) {
					t.Errorf("err = %v, want %q", err, c.refused)
				}
				return
			}
			if err != nil || s.Retention != c.want {
				t.Errorf("retention = %+v, %v, want %+v", s.Retention, err, c.want)
			}
		})
	}
}
