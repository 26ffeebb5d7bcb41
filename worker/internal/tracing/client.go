package tracing

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"
)

// client sends spans by OTLP over HTTP. OpenTelemetry's own, otlptracehttp,
// would bring all of gRPC along for the type of one message: 5 MB more of binary
// and 3.6 MB of memory. tracepb.TracesData has the same bytes.
type client struct {
	environment *environment
	http        *http.Client
	quit        context.Context // ends every request
	abandonAll  context.CancelFunc
}

// pauses come before the second and the third try.
var pauses = []time.Duration{time.Second, 3 * time.Second}

func newClient(e *environment) *client {
	c := &client{environment: e, http: &http.Client{
		Timeout: e.timeout,
		Transport: &http.Transport{
			Proxy: http.ProxyFromEnvironment, TLSClientConfig: e.tls, ForceAttemptHTTP2: true,
			MaxIdleConnsPerHost: 1, IdleConnTimeout: time.Minute, TLSHandshakeTimeout: 5 * time.Second,
		},
		// A redirect would take the headers, which may hold a key, elsewhere.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
	c.quit, c.abandonAll = context.WithCancel(context.Background())
	return c
}

// Start implements otlptrace.Client.
func (*client) Start(context.Context) error { return nil }

// Stop implements otlptrace.Client.
func (*client) Stop(context.Context) error { return nil }

// abandon ends what is still being sent.
func (c *client) abandon() {
	c.abandonAll()
	c.http.CloseIdleConnections()
}

// UploadTraces implements otlptrace.Client. It tries again what the protocol says
// may be tried again, and connections that failed.
func (c *client) UploadTraces(ctx context.Context, spans []*tracepb.ResourceSpans) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(c.quit, cancel)()
	body, err := proto.Marshal(&tracepb.TracesData{ResourceSpans: spans})
	if err != nil {
		return err
	}
	if c.environment.gzip {
		var b bytes.Buffer
		w := gzip.NewWriter(&b)
		_, _ = w.Write(body) // into memory
		_ = w.Close()
		body = b.Bytes()
	}
	for try := 0; ; try++ {
		again, err := c.post(ctx, body)
		if err == nil || !again || try == len(pauses) || ctx.Err() != nil {
			return err
		}
		timer := time.NewTimer(pauses[try])
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return err
		}
	}
}

func (c *client) post(ctx context.Context, body []byte) (again bool, err error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, c.environment.endpoint.String(), bytes.NewReader(body))
	if err != nil {
		return false, errors.New("the endpoint's URL cannot be used")
	}
	request.Header = c.environment.headers.Clone()
	request.Header.Set("Content-Type", "application/x-protobuf")
	request.Header.Set("User-Agent", serviceName)
	if c.environment.gzip {
		request.Header.Set("Content-Encoding", "gzip")
	}
	response, err := c.http.Do(request)
	if err != nil {
		// Without the URL around it, which may hold credentials.
		if outer := (*url.Error)(nil); errors.As(err, &outer) {
			err = outer.Err
		}
		return true, err
	}
	defer response.Body.Close() //nolint:errcheck // the status decides
	_, _ = io.CopyN(io.Discard, response.Body, 64<<10)
	switch status := response.StatusCode; status {
	case http.StatusTooManyRequests, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return true, fmt.Errorf("the collector answered %d", status)
	default:
		if status < 200 || status > 299 {
			return false, fmt.Errorf("the collector answered %d", status)
		}
		return false, nil
	}
}
