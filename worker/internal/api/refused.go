package api

import (
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/worker/internal/settings"
)

// Why a request is refused.
const (
	noToken    = "no_token"
	wrongToken = "wrong_token"
	noScope    = "scope"
	noAccount  = "account"
)

const refusalsEvery = time.Minute

// refusedTokens logs refusals the first time and then once a minute, with how
// many there were in between: whoever guesses must not fill the disk.
type refusedTokens struct {
	mu   sync.Mutex
	last map[refusedKind]*refusedCount // as many as there are tokens, times the reasons
}

type refusedKind struct{ reason, token string }

type refusedCount struct {
	logged time.Time
	since  int
}

// refused reports a refusal. token is nil if it is none of ours; what the client
// sent is never logged.
func (a *api) refused(reason string, token *settings.APIToken) {
	kind := refusedKind{reason: reason}
	fields := []zap.Field{zap.String("reason", reason)}
	if token != nil {
		kind.token = token.Name
		fields = append(fields, zap.String("token", token.Name))
	}
	if since, due := a.refusals.due(kind, a.now()); due {
		a.Log.Warn("API request refused", append(fields, zap.Int("more_since_last_logged", since))...)
	}
}

func (l *refusedTokens) due(kind refusedKind, now time.Time) (since int, due bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	count := l.last[kind]
	if count == nil {
		count = new(refusedCount)
		l.last[kind] = count
	}
	if now.Sub(count.logged) < refusalsEvery {
		count.since++
		return 0, false
	}
	since, count.since, count.logged = count.since, 0, now
	return since, true
}
