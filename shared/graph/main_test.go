package graph_test

import (
	"context"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/graph"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/graph/graphtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	waba   = "102290129340398"
	phone  = "106540352242922"
	app    = "670843887433847"
	secret = "app-secret"
	token  = "EAAJB0123456789abcdefghijklmnop"
)

// site is a server with an account, a number, an app and a token.
type site struct {
	*graphtest.Server
	paused []time.Duration
}

func start(t *testing.T) *site {
	t.Helper()
	s := &site{Server: graphtest.New()}
	t.Cleanup(s.Close)
	s.AddAccount(waba)
	s.AddNumber(waba, graph.Number{ID: phone})
	s.AddApp(app, "Shop", secret, "verify-me")
	s.AddToken(token, graphtest.Token{AppID: app})
	return s
}

// client calls the server, and only notes pauses.
func (s *site) client(t *testing.T, key string) *graph.Client {
	t.Helper()
	c, err := graph.New(graph.Config{HTTP: s.HTTP(), URL: s.URL(), Token: key, Pause: func(ctx context.Context, d time.Duration) error {
		s.paused = append(s.paused, d)
		return ctx.Err()
	}})
	if err != nil {
		t.Fatal(err)
	}
	return c
}
