package callback

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/netip"
	"net/url"
	"strconv"
	"time"

	"github.com/hashicorp/go-retryablehttp"
)

const (
	// userAgent keeps the product token of the seed project, which receivers
	// may filter by.
	userAgent = "WhatsApp-Flow-Server/1.0 (caddy-whatsapp-flows)"

	connectTimeout = 3 * time.Second
	tlsTimeout     = 5 * time.Second
	// bodyTimeout bounds the wait for the rest of a response once its status,
	// which alone decides, is known.
	bodyTimeout = 2 * time.Second

	// keptBody of a response is stored with the attempt; drainedBody more is
	// read so that the connection can serve the next delivery. A receiver that
	// sends more loses its connection.
	keptBody    = 16 << 10
	drainedBody = 48 << 10
)

// Request is one HTTP attempt.
type Request struct {
	ID      string // webhook-id
	URL     string
	Secrets []string
	Body    []byte
	Timeout time.Duration // of everything, reading the response included

	Headers     map[string]string // the endpoint's own
	Auth        string            // value of Authorization; empty: none
	Traceparent string            // empty: none
	Verbatim    bool              // the body is Meta's, and signed as Meta signs too
}

// request is one for this endpoint.
func (e *Endpoint) request(id string, body []byte) Request {
	return Request{
		ID: id, URL: e.URL, Secrets: e.Secrets, Body: body, Timeout: e.Timeout, Headers: e.Headers, Auth: e.Auth,
	}
}

// Result is what came of it.
type Result struct {
	Status     int // 0 when no response came
	Err        error
	Tries      int // connections tried
	Body       []byte
	RetryAfter time.Duration // what the receiver asked for, 0 if it did not
	Took       time.Duration
}

// Delivered says that the receiver took the callback: any 2xx.
func (r Result) Delivered() bool { return r.Status >= 200 && r.Status <= 299 }

// Gone says that the receiver wants no more callbacks.
func (r Result) Gone() bool { return r.Status == http.StatusGone }

// Sender makes the HTTP attempts. Retries inside an attempt are for failures
// of the connection only, and there is one: the schedule is the database's.
type Sender struct {
	client    *retryablehttp.Client
	transport *http.Transport
	now       func() time.Time
	used      func(reused bool)
}

// SenderConfig is what a sender needs to know.
type SenderConfig struct {
	// AllowNetworks are networks that callbacks may reach although their
	// addresses are not public.
	AllowNetworks []netip.Prefix
	// MaxInFlight is the number of connections kept for one receiver.
	MaxInFlight int
	// Resolver replaces the system's; nil means the system's.
	Resolver *net.Resolver
	// RootCAs replace the system's; nil means the system's.
	RootCAs *x509.CertPool
	// Connections counts the connections used, by whether they were new; may
	// be nil.
	Connections func(reused bool)
}

// NewSender returns a sender.
func NewSender(c SenderConfig) *Sender {
	dialer := &net.Dialer{
		Timeout:        connectTimeout,
		ControlContext: guard{allow: c.AllowNetworks}.control,
		Resolver:       c.Resolver,
	}
	transport := &http.Transport{
		// No proxy: it would resolve names behind the guard's back.
		Proxy:                  nil,
		DialContext:            dialer.DialContext,
		TLSHandshakeTimeout:    tlsTimeout,
		TLSClientConfig:        &tls.Config{RootCAs: c.RootCAs, MinVersion: tls.VersionTLS12},
		ForceAttemptHTTP2:      true,
		MaxIdleConns:           1024,
		MaxIdleConnsPerHost:    c.MaxInFlight,
		IdleConnTimeout:        60 * time.Second,
		MaxResponseHeaderBytes: 32 << 10,
		// Deliveries to one receiver share an HTTP/2 connection. Without pings
		// one that died without a word would swallow them until TCP gives up,
		// a quarter of an hour later.
		HTTP2: &http.HTTP2Config{SendPingTimeout: 5 * time.Second, PingTimeout: 5 * time.Second},
		// A compressed response would get past the limit on its size.
		DisableCompression: true,
	}
	s := &Sender{transport: transport, now: time.Now, used: c.Connections}
	s.client = &retryablehttp.Client{
		HTTPClient: &http.Client{
			Transport: hidden{transport},
			// A redirect turns POST into GET and may lead anywhere.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
		RetryMax:     1,
		RetryWaitMin: 100 * time.Millisecond,
		RetryWaitMax: 300 * time.Millisecond,
		CheckRetry:   s.checkRetry,
		// Not the library's: that one obeys any Retry-After.
		Backoff:        func(shortest, _ time.Duration, _ int, _ *http.Response) time.Duration { return shortest },
		ErrorHandler:   retryablehttp.PassthroughErrorHandler,
		RequestLogHook: func(_ retryablehttp.Logger, r *http.Request, _ int) { exchangeOf(r.Context()).begin() },
		PrepareRetry:   func(r *http.Request) error { return s.sign(r) },
		Logger:         nil,
	}
	return s
}

// hidden keeps CloseIdleConnections from go-retryablehttp, which would close
// the connections of every receiver whenever one of them fails, and a redirect's
// target from http.Client, which reads it before it asks whether to follow: one
// that is no URL would come back as an error that quotes it.
type hidden struct{ http.RoundTripper }

func (h hidden) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := h.RoundTripper.RoundTrip(r)
	if resp != nil {
		resp.Header.Del("Location")
	}
	return resp, err
}

// Close ends the idle connections.
func (s *Sender) Close() { s.transport.CloseIdleConnections() }

// Send makes one attempt. It returns at the latest when the timeout is over.
func (s *Sender) Send(ctx context.Context, q Request) Result {
	started := time.Now()
	ctx, cancel := context.WithTimeout(ctx, q.Timeout)
	defer cancel()
	x := &exchange{request: q, used: s.used}
	ctx = httptrace.WithClientTrace(context.WithValue(ctx, exchangeKey{}, x), &httptrace.ClientTrace{GotConn: x.gotConn})

	result := s.exchange(ctx, cancel, q)
	result.Tries = max(x.tries, 1)
	result.Took = time.Since(started)
	return result
}

func (s *Sender) exchange(ctx context.Context, cancel context.CancelFunc, q Request) Result {
	req, err := retryablehttp.NewRequestWithContext(ctx, http.MethodPost, q.URL, q.Body)
	if err != nil {
		return Result{Err: errBadURL}
	}
	// First, so that none takes the place of ours.
	for name, value := range q.Headers {
		req.Header.Set(name, value)
	}
	if q.Auth != "" {
		req.Header.Set("Authorization", q.Auth)
	}
	if q.Traceparent != "" {
		req.Header.Set("traceparent", q.Traceparent)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("User-Agent", userAgent)
	req.Header.Set("webhook-id", q.ID)
	if err := s.sign(req.Request); err != nil {
		return Result{Err: err}
	}
	resp, err := s.client.Do(req)
	if err != nil {
		if resp != nil {
			resp.Body.Close() //nolint:errcheck // nothing was sent that matters
		}
		return Result{Err: plain(err)}
	}
	// Closing before the end is reached ends the connection: what is past the
	// limits, or too slow, is not waited for.
	defer resp.Body.Close() //nolint:errcheck // the status decides
	tooSlow := time.AfterFunc(bodyTimeout, cancel)
	defer tooSlow.Stop()
	body, _ := io.ReadAll(io.LimitReader(resp.Body, keptBody))
	_, _ = io.CopyN(io.Discard, resp.Body, drainedBody)
	return Result{Status: resp.StatusCode, Body: body, RetryAfter: retryAfter(resp.Header, s.now())}
}

// sign sets the headers that hold the time, which is new for each try.
func (s *Sender) sign(r *http.Request) error {
	q, now := exchangeOf(r.Context()).request, s.now()
	signature, err := Signature(q.Secrets, q.ID, now, q.Body)
	if err != nil {
		return err
	}
	// The try before may still hold the old headers.
	r.Header = r.Header.Clone()
	r.Header.Set("webhook-timestamp", strconv.FormatInt(now.Unix(), 10))
	r.Header.Set("webhook-signature", signature)
	if q.Verbatim {
		// There is room for one: the oldest that is still valid, so that another
		// secret breaks no receiver before the overlap is over.
		r.Header.Set("X-Hub-Signature-256", metaSignature(q.Secrets[len(q.Secrets)-1], q.Body))
	}
	return nil
}

// checkRetry allows a second try only when no byte can have reached the
// receiver: there was no connection, and another one may fare better.
func (s *Sender) checkRetry(ctx context.Context, _ *http.Response, err error) (bool, error) {
	if err == nil || ctx.Err() != nil || exchangeOf(ctx).connected() {
		return false, nil
	}
	var (
		forbidden   *ForbiddenAddressError
		certificate *tls.CertificateVerificationError
		dns         *net.DNSError
		network     net.Error
	)
	switch {
	case errors.As(err, &forbidden), errors.As(err, &certificate):
		return false, nil
	case errors.As(err, &dns):
		return dns.IsTemporary || dns.IsTimeout, nil
	default:
		return errors.As(err, &network), nil
	}
}

var (
	errBadURL   = errors.New("the endpoint's URL cannot be used, expected one such as https://example.com/hooks/flows")
	errNoAnswer = errors.New("the connection broke, or what came over it was no HTTP response")
)

// plain is what may be stored and logged of an error. The URL may hold a secret,
// and the errors of a response that cannot be read quote it, which may be our
// own request come back: only errors known to quote nothing are kept.
func plain(err error) error {
	var u *url.Error
	for errors.As(err, &u) {
		err = u.Err
	}
	for _, known := range []error{context.Canceled, context.DeadlineExceeded, http.ErrSchemeMismatch} {
		if errors.Is(err, known) {
			return known
		}
	}
	var (
		forbidden   *ForbiddenAddressError
		certificate *tls.CertificateVerificationError
		handshake   tls.RecordHeaderError
		network     net.Error // *net.OpError, *net.DNSError, timeouts of net/http
	)
	if errors.As(err, &forbidden) || errors.As(err, &certificate) || errors.As(err, &handshake) || errors.As(err, &network) {
		return err
	}
	return errNoAnswer
}
