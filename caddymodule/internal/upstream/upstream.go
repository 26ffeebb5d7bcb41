package upstream

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"golang.org/x/net/http/httpguts"
)

// Upstream is one service that flows may fetch from.
type Upstream struct {
	name    string
	base    string // scheme, host and base path, without a slash at the end
	header  http.Header
	timeout time.Duration
	maxBody int64
}

// ours are the headers that an upstream's configuration cannot set: they belong
// to the connection, or are made for each request.
var ours = []string{
	"Accept-Encoding", "Connection", "Content-Encoding", "Content-Length", "Content-Type",
	"Host", "Idempotency-Key", "Keep-Alive", "Te", "Trailer", "Transfer-Encoding", "Upgrade",
}

// New checks the settings of an upstream. address is http or https with a host
// and perhaps a base path; timeout and maxBody (bytes) bound every answer.
// Errors repeat neither the address nor a header's value.
func New(name, address string, header http.Header, timeout time.Duration, maxBody int64) (*Upstream, error) {
	u := &Upstream{name: name, header: make(http.Header), timeout: timeout, maxBody: maxBody}
	const example = "https://calendar.internal:9000/api"
	base, err := url.Parse(address)
	switch {
	case err != nil:
		return nil, errors.New("the URL cannot be read, expected one such as " + example)
	case base.Scheme != "http" && base.Scheme != "https":
		return nil, fmt.Errorf("the URL has the scheme %q, expected http or https, such as %s", base.Scheme, example)
	case base.Hostname() == "":
		return nil, errors.New("the URL names no host, expected one such as " + example)
	case base.User != nil:
		return nil, errors.New("the URL holds a user or a password: send them as header Authorization")
	case base.RawQuery != "" || base.ForceQuery || base.Fragment != "":
		return nil, errors.New("the URL holds a query or a fragment: leave it out, the query is part of a fetch's path")
	}
	u.base = base.Scheme + "://" + base.Host
	if path := strings.TrimRight(base.EscapedPath(), "/"); path != "" {
		if err := checkPath(path); err != nil {
			return nil, fmt.Errorf("the URL: its path %w", err)
		}
		u.base += path
	}
	for field, values := range header {
		name := http.CanonicalHeaderKey(field)
		if !httpguts.ValidHeaderFieldName(name) {
			return nil, fmt.Errorf("header %q: this is no name of a header", field)
		}
		if slices.Contains(ours, name) {
			return nil, fmt.Errorf("header %s cannot be set: every fetch has its own", name)
		}
		for _, value := range values {
			if value == "" || !httpguts.ValidHeaderFieldValue(value) {
				return nil, fmt.Errorf("header %s: its value is empty or holds a character that a header cannot", name)
			}
			u.header.Add(name, value)
		}
	}
	return u, nil
}
