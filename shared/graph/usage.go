package graph

import (
	"cmp"
	"encoding/json"
	"net/http"
	"slices"
	"time"
)

// Usage is how much of a rate limit is used, in percent of what Meta allows.
type Usage struct {
	Of     string `json:"of"` // "app", or a business's id and what is counted: "109… whatsapp"
	Calls  int    `json:"calls"`
	Time   int    `json:"time"`
	CPU    int    `json:"cpu"`
	Regain int    `json:"regain_minutes,omitempty"` // minutes until calls are let through again
}

// Percent is the fullest of the three counts.
func (u Usage) Percent() int { return max(u.Calls, u.Time, u.CPU) }

// Usage is what the rate-limit headers of all answers so far said, the highest
// of each limit, the fullest limit first.
func (c *Client) Usage() []Usage {
	c.mu.Lock()
	defer c.mu.Unlock()
	all := make([]Usage, 0, len(c.highest))
	for _, u := range c.highest {
		all = append(all, u)
	}
	slices.SortFunc(all, func(a, b Usage) int {
		return cmp.Or(cmp.Compare(b.Percent(), a.Percent()), cmp.Compare(a.Of, b.Of))
	})
	return all
}

// maxLimits bounds how many limits are remembered.
const maxLimits = 32

// note remembers the rate-limit headers of an answer and returns how long calls
// are held back.
func (c *Client) note(header http.Header) (regain time.Duration) {
	for _, u := range usages(header) {
		regain = max(regain, time.Duration(u.Regain)*time.Minute)
		c.mu.Lock()
		old, known := c.highest[u.Of]
		if (!known && len(c.highest) < maxLimits) || (known && u.Percent() >= old.Percent()) {
			c.highest[u.Of] = u
		}
		c.mu.Unlock()
	}
	return regain
}

// usages reads X-App-Usage and X-Business-Use-Case-Usage. What is malformed is
// passed over: a call does not fail for it.
func usages(header http.Header) []Usage {
	type counts struct {
		Type   string  `json:"type"`
		Calls  float64 `json:"call_count"`
		Time   float64 `json:"total_time"`
		CPU    float64 `json:"total_cputime"`
		Regain float64 `json:"estimated_time_to_regain_access"` // minutes
	}
	usage := func(of string, n counts) Usage {
		return Usage{Of: of, Calls: percent(n.Calls), Time: percent(n.Time), CPU: percent(n.CPU), Regain: percent(n.Regain)}
	}
	var all []Usage
	var app counts
	if text := header.Get("X-App-Usage"); text != "" && json.Unmarshal([]byte(text), &app) == nil {
		all = append(all, usage("app", app))
	}
	var businesses map[string][]counts
	if text := header.Get("X-Business-Use-Case-Usage"); text != "" && json.Unmarshal([]byte(text), &businesses) == nil {
		for id, list := range businesses {
			for _, n := range list {
				all = append(all, usage(id+" "+n.Type, n))
			}
		}
	}
	return all
}

// percent keeps a count of a header within what an int takes everywhere.
func percent(n float64) int { return int(min(max(n, 0), 1e6)) }
