package site

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/hubsignature"
)

// Post sends a body to a path of the edge and returns status and answer.
func (s *Site) Post(ctx context.Context, path string, body []byte, header map[string]string) (status int, answer []byte, err error) {
	client, err := s.Client()
	if err != nil {
		return 0, nil, err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, s.EdgeURL+path, bytes.NewReader(body))
	if err != nil {
		return 0, nil, err
	}
	request.Header.Set("Content-Type", "application/json")
	for name, value := range header {
		request.Header.Set(name, value)
	}
	return send(client, request)
}

// Transport is the way of a phone's requests to one flow.
func (s *Site) Transport(flow string) func(ctx context.Context, body []byte, header map[string]string) (int, []byte, error) {
	return func(ctx context.Context, body []byte, header map[string]string) (int, []byte, error) {
		return s.Post(ctx, "/flows/endpoint/"+flow, body, header)
	}
}

// Webhook delivers a webhook as Meta does, signed with the app secret.
func (s *Site) Webhook(ctx context.Context, body []byte) (status int, err error) {
	status, _, err = s.Post(ctx, "/webhooks/whatsapp", body, map[string]string{
		"X-Hub-Signature-256": hubsignature.Sign([]byte(s.Secrets.AppSecret), body),
	})
	return status, err
}

// Get reads a path of the edge.
func (s *Site) Get(ctx context.Context, path string) (status int, answer []byte, err error) {
	client, err := s.Client()
	if err != nil {
		return 0, nil, err
	}
	return get(ctx, client, s.EdgeURL+path)
}

// API calls the worker's API through the edge, with the site's own token. body
// is JSON, nil for none.
func (s *Site) API(ctx context.Context, method, path string, body []byte) (status int, answer []byte, err error) {
	client, err := s.Client()
	if err != nil {
		return 0, nil, err
	}
	request, err := http.NewRequestWithContext(ctx, method, s.EdgeURL+path, bytes.NewReader(body))
	if err != nil {
		return 0, nil, err
	}
	request.Header.Set("Authorization", "Bearer "+s.Secrets.APIToken)
	if body != nil {
		request.Header.Set("Content-Type", "application/json")
	}
	return send(client, request)
}

// Metrics is what Caddy's admin endpoint shows to Prometheus.
func (s *Site) Metrics(ctx context.Context) (string, error) {
	status, answer, err := get(ctx, http.DefaultClient, "http://"+s.Admin+"/metrics")
	if err == nil && status != http.StatusOK {
		err = fmt.Errorf("/metrics has status %d", status)
	}
	return string(answer), err
}

func get(ctx context.Context, client *http.Client, url string) (int, []byte, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return 0, nil, err
	}
	return send(client, request)
}

func send(client *http.Client, request *http.Request) (status int, answer []byte, err error) {
	response, err := client.Do(request)
	if err != nil {
		return 0, nil, err
	}
	defer response.Body.Close()
	answer, err = io.ReadAll(response.Body)
	return response.StatusCode, answer, err
}
