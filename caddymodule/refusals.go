package caddymodule

import (
	"sync"
	"time"

	"go.uber.org/zap"
)

// refusalsEvery is how often a kind of refusal is logged at most. Anyone can
// send what is refused, so the log must not grow with it; but who sets a flow up
// must see why Meta's health check is red.
const refusalsEvery = time.Minute

// hints say what to do about a refusal, by its reason as the metrics name it.
var hints = map[string]string{
	"signature": "X-Hub-Signature-256 is missing or made with another secret: compare app_secret with the secret of the Meta app that is " +
		"linked to the flow (for webhooks: that subscribed), and look for a proxy that rewrites bodies",
	"envelope":       "expected a JSON object with encrypted_flow_data, encrypted_aes_key and initial_vector: is this WhatsApp?",
	"decryption":     "no private_key opens it: WhatsApp holds another public key for this phone number; compare its fingerprint with public_key_sha256 of the start",
	"request":        "decrypted, but no request of WhatsApp Flows: expected a JSON object with a known action",
	"no_flow":        "the path names no flow: expected /flows/endpoint/NAME, ?flow=NAME, or a default flow",
	"unknown_flow":   "no such flow is published: load it with `worker flows load`, or mend the name in the endpoint's URL",
	"unknown_screen": "the flow that is published here has no such screen: publish the version that Meta has",
	"body":           "the body did not arrive in time or broke off",
}

// refusals are logged the first time and then once a minute, with how many there
// were in between. It belongs to the process.
var refusals = refusalLog{last: make(map[string]*refusalCount)}

type refusalLog struct {
	mu   sync.Mutex
	last map[string]*refusalCount // by account and reason: few
}

type refusalCount struct {
	logged time.Time
	since  int // refusals that were not logged
}

// report logs a refusal of what ("flow request", "webhook") unless the same kind
// was logged less than a minute ago.
func (l *refusalLog) report(logger *zap.Logger, what, account, reason string, status int, now time.Time, fields ...zap.Field) {
	key := what + "\x00" + account + "\x00" + reason
	l.mu.Lock()
	count := l.last[key]
	if count == nil {
		count = new(refusalCount)
		l.last[key] = count
	}
	since := count.since
	due := now.Sub(count.logged) >= refusalsEvery
	if due {
		count.logged, count.since = now, 0
	} else {
		count.since++
	}
	l.mu.Unlock()
	if due {
		logger.Warn(what+" refused", append(fields, zap.String("account", account), zap.Int("status", status),
			zap.String("reason", reason), zap.String("hint", hints[reason]), zap.Int("more_since_last_logged", since))...)
	}
}
