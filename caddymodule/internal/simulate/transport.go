package simulate

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net/http"
	"os"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/phone"
)

// maxAnswer is the size above which WhatsApp takes no answer.
const maxAnswer = 10 << 20

// transport posts to endpoints as Meta's proxy does: it follows no redirect.
type transport struct {
	client *http.Client
	round  *http.Transport
}

func newTransport(caFile string, connections int) (*transport, error) {
	round := http.DefaultTransport.(*http.Transport).Clone()
	round.MaxIdleConns, round.MaxIdleConnsPerHost = 0, connections
	round.DisableCompression = true // Meta's proxy gets the base64 as it is
	if caFile != "" {
		text, err := os.ReadFile(caFile)
		if err != nil {
			return nil, fmt.Errorf("--ca: %w", err)
		}
		pool, err := x509.SystemCertPool()
		if err != nil {
			pool = x509.NewCertPool()
		}
		if !pool.AppendCertsFromPEM(text) {
			return nil, fmt.Errorf("--ca: %s holds no certificate, expected PEM", caFile)
		}
		round.TLSClientConfig = &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}
	}
	return &transport{round: round, client: &http.Client{
		Transport:     round,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}, nil
}

func (t *transport) close() { t.round.CloseIdleConnections() }

// to is the way to one URL.
func (t *transport) to(url string) phone.Transport {
	return func(ctx context.Context, body []byte, header map[string]string) (int, []byte, error) {
		request, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(body))
		if err != nil {
			return 0, nil, err
		}
		for name, value := range header {
			request.Header.Set(name, value)
		}
		response, err := t.client.Do(request)
		if err != nil {
			return 0, nil, err
		}
		defer response.Body.Close()
		answer, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer+1))
		if err != nil {
			return 0, nil, err
		}
		if len(answer) > maxAnswer {
			return 0, nil, fmt.Errorf("the answer is larger than the %d bytes that WhatsApp takes", maxAnswer)
		}
		return response.StatusCode, answer, nil
	}
}
