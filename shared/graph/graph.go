// Package graph calls those parts of Meta's Graph API that a business with
// WhatsApp Flows needs: the public key of a phone number, its flows and their
// Flow JSON, subscriptions to webhooks, what a token may do, health, and
// sending a flow message.
//
// A Client is made by New from an *http.Client, which is passed in as the token
// is. Each method is one call, tried again where that can do no harm: reads and
// writes that may be repeated after any passing failure, others (create,
// publish, deprecate, send) only when Meta surely has not carried them out. A
// refusal is an *Error that says what it means and what to do.
//
// The token travels in the Authorization header, is sent to no other host and
// stands in no error. Only DebugToken has it in its URL too, because that is the
// parameter by which Meta is asked about a token. Sources: Meta's pages "Flows API", "WhatsApp Business
// Encryption", "Sending a Flow", "Graph API: Error handling, Rate limits,
// Paginated results".
package graph

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"time"
)

const (
	// DefaultURL is where the Graph API is.
	DefaultURL = "https://graph.facebook.com"
	// DefaultVersion is the version this package was written for.
	DefaultVersion = "v25.0"

	defaultTries   = 4
	defaultTimeout = 30 * time.Second // of one try

	// longestPause is how long a call waits before another try. When Meta asks
	// for more the call ends, and its error says for how long.
	longestPause = time.Minute
)

// Config is what a Client needs.
type Config struct {
	HTTP    *http.Client // required; its redirect policy is replaced, and its timeout if it has none
	Token   string       // required: a system user's access token, or APP_ID|APP_SECRET for an app's own calls
	URL     string       // empty: DefaultURL
	Version string       // empty: DefaultVersion
	Tries   int          // of one call; 0: 4

	// Pause waits between two tries; nil waits in real time.
	Pause func(context.Context, time.Duration) error
}

// Client calls the Graph API with one token. It is safe for use by many
// goroutines.
type Client struct {
	http    *http.Client
	base    *url.URL // with the version
	token   string
	tries   int
	pause   func(context.Context, time.Duration) error
	mu      sync.Mutex
	highest map[string]Usage
}

var versionForm = regexp.MustCompile(`^v[0-9]{1,3}\.[0-9]{1,3}$`)

// New checks c and makes a client of it. The error never holds the token.
func New(c Config) (*Client, error) {
	if c.HTTP == nil {
		return nil, errors.New("graph: no *http.Client is given")
	}
	if c.URL == "" {
		c.URL = DefaultURL
	}
	if c.Version == "" {
		c.Version = DefaultVersion
	}
	if c.Tries <= 0 {
		c.Tries = defaultTries
	}
	if c.Pause == nil {
		c.Pause = wait
	}
	switch {
	case c.Token == "":
		return nil, errors.New("the access token is empty, expected that of a system user of the business")
	case strings.ContainsFunc(c.Token, func(r rune) bool { return r <= ' ' || r > '~' }):
		return nil, errors.New("the access token holds white space or characters that no token has: copy it again, as one line")
	case !versionForm.MatchString(c.Version):
		return nil, fmt.Errorf("%q is no version of the Graph API, expected one such as %s", c.Version, DefaultVersion)
	}
	base, err := parseBase(c.URL)
	if err != nil {
		return nil, err
	}
	client := *c.HTTP
	// A redirect would carry the token to where nobody meant it to go.
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	if client.Timeout == 0 {
		client.Timeout = defaultTimeout
	}
	return &Client{http: &client, base: base.JoinPath(c.Version), token: c.Token, tries: c.Tries, pause: c.Pause, highest: map[string]Usage{}}, nil
}

// parseBase takes https, and plain http only to this machine: over a network it
// would show the token to everybody on the way.
func parseBase(text string) (*url.URL, error) {
	u, err := url.Parse(text)
	if err != nil || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return nil, fmt.Errorf("the URL of the Graph API is none, expected one such as %s", DefaultURL)
	}
	if u.Scheme != "https" && (u.Scheme != "http" || !loopback(u.Hostname())) {
		return nil, fmt.Errorf("the URL of the Graph API is %s, expected https: the token would be readable on the way", u)
	}
	return u, nil
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

func wait(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// checkID refuses what cannot be an id of Meta's, so that a name or a path
// never ends up as another call.
func checkID(what, id string) error {
	if id == "" {
		return fmt.Errorf("the id of the %s is empty", what)
	}
	if strings.Trim(id, "0123456789") != "" || len(id) > 32 {
		return fmt.Errorf("%q is no id of a %s, expected digits as Meta shows them", id, what)
	}
	return nil
}
