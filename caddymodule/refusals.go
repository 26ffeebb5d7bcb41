package caddymodule

import (
	"slices"
	"sync"
	"time"

	"go.uber.org/zap"
)

// logEvery is how often a kind of refusal is logged at most. Anyone can send what
// is refused, so the log must not grow with it; but who sets a flow up must see
// why Meta's health check is red.
const logEvery = time.Minute

// hints say what to do about a refusal, by its reason as the metrics name it.
var hints = map[string]string{
	"signature": "X-Hub-Signature-256 is missing or made with another secret: compare app_secret with the secret of the Meta app that is " +
		"linked to the flow (for webhooks: that subscribed), and look for a proxy that rewrites bodies",
	"envelope":   "expected a JSON object with encrypted_flow_data, encrypted_aes_key and initial_vector: is this WhatsApp?",
	"decryption": "no private_key opens it: WhatsApp holds another public key for this phone number; compare its fingerprint with public_key_sha256 of the start",
	"request":    "decrypted, but no request of WhatsApp Flows: expected a JSON object with a known action",
	"token": "the flow token is forged, or made for another flow or account: compare FLOW_TOKEN_SECRET with that of whoever sends the message, " +
		"and the flow it names with the end of the endpoint's path",
	"no_flow":         "the path names no flow: expected /flows/endpoint/NAME, ?flow=NAME, or a default flow",
	"unknown_flow":    "no such flow is published: load it with `worker flows load`, or mend the name in the endpoint's URL",
	"unknown_screen":  "the flow that is published here has no such screen: publish the version that Meta has",
	reasonOverloaded:  "more requests come than this machine can decrypt in time: give it more cores, or run another edge beside it",
	reasonMemory:      "the bodies of requests under way fill the memory that is set aside for them: who sends so many large ones?",
	"no_verify_token": "hub.verify_token is missing: is this Meta?",
	"verify_token":    "hub.verify_token is another one: compare META_VERIFY_TOKEN with what was entered at Meta",
	"mode":            "hub.mode is not subscribe: is this Meta?",
	"no_challenge":    "hub.challenge is missing: is this Meta?",
	"challenge":       "hub.challenge is too long: is this Meta?",
	"body":            "the body did not arrive in time or broke off",
}

// refusals are logged the first time and then once a minute, with how many there
// were in between. It belongs to the process.
var refusals refusalLog

type refusalLog struct{ minuteLog }

// report logs a refusal of what ("flow request", "webhook") unless the same kind
// was logged less than a minute ago.
func (l *refusalLog) report(logger *zap.Logger, what, account, reason string, status int, now time.Time, fields ...zap.Field) {
	if since, due := l.due(kind{what, account, reason}, now); due {
		// The clone keeps the caller's fields off the heap when nothing is logged.
		logger.Warn(what+" refused", append(slices.Clone(fields), zap.String("account", account), zap.Int("status", status),
			zap.String("reason", reason), zap.String("hint", hints[reason]), zap.Int("more_since_last_logged", since))...)
	}
}

// minuteLog decides what is logged: each kind once a minute.
type minuteLog struct {
	mu   sync.Mutex
	last map[kind]*minuteCount // few
}

// kind is what a line of the log is about.
type kind [3]string

type minuteCount struct {
	logged time.Time
	since  int // how many were not logged
}

// due says whether one more of a kind is to be logged, and how many there were
// since the last that was.
func (l *minuteLog) due(what kind, now time.Time) (since int, due bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	count := l.last[what]
	if count == nil {
		if l.last == nil {
			l.last = make(map[kind]*minuteCount)
		}
		count = new(minuteCount)
		l.last[what] = count
	}
	if now.Sub(count.logged) < logEvery {
		count.since++
		return 0, false
	}
	since, count.since, count.logged = count.since, 0, now
	return since, true
}
