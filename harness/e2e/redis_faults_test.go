package e2e

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/harness/site"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/keyspace"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/phone"
)

func TestRedisStopped(t *testing.T) {
	t.Parallel()
	s := start(t, site.Options{})
	before, err := s.complete(t.Context(), s.phone(t, rand.Text()))
	if err != nil {
		t.Fatal(err)
	}
	underway := s.phone(t, rand.Text())
	if _, err := underway.Init(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := s.Servers.Redis.Kill(); err != nil {
		t.Fatal(err)
	}

	t.Run("webhooks get 503, so that Meta sends them again", func(t *testing.T) {
		for range 3 {
			status, err := s.Webhook(t.Context(), completion("wamid.refused", []byte(`{}`)))
			if err != nil || status != http.StatusServiceUnavailable {
				t.Errorf("status %d (%v), want 503", status, err)
			}
		}
	})
	t.Run("the health ping is answered", func(t *testing.T) {
		if _, err := s.phone(t, "").Ping(t.Context()); err != nil {
			t.Error(err)
		}
	})
	t.Run("a user sees the same screen with a message, or 503", func(t *testing.T) {
		reply, err := underway.Exchange(t.Context(), "RATING", map[string]any{"score": "3"})
		if err != nil {
			wantRefused(t, err, phone.KeyUnexpectedStatus)
		} else if reply.Screen != "RATING" || reply.ErrorMessage == "" {
			t.Errorf("screen %s, message %q; want RATING and a message", reply.Screen, reply.ErrorMessage)
		}
	})
	t.Run("the same envelope still gets the same bytes", func(t *testing.T) {
		payload, err := underway.Payload("data_exchange", "RATING", map[string]any{"score": "2"})
		if err != nil {
			t.Fatal(err)
		}
		envelope, err := underway.Seal(payload)
		if err != nil {
			t.Fatal(err)
		}
		status, body, err := underway.Post(t.Context(), envelope)
		if err != nil {
			t.Fatal(err)
		}
		again, bodyAgain, err := underway.Post(t.Context(), envelope)
		if err != nil {
			t.Fatal(err)
		}
		if status != again || string(body) != string(bodyAgain) {
			t.Errorf("status %d and %d, bodies equal: %v", status, again, string(body) == string(bodyAgain))
		}
	})
	t.Run("back again, everything goes on", func(t *testing.T) {
		if err := s.Servers.Redis.Restart(t.Context()); err != nil {
			t.Fatal(err)
		}
		eventually(t, 10*time.Second, "the edge finds Redis again", func(ctx context.Context) error {
			_, err := underway.Exchange(ctx, "RATING", map[string]any{"score": "3"})
			if err == nil && underway.Screen() != "COMMENT" {
				err = fmt.Errorf("screen %s", underway.Screen())
			}
			return err
		})
		after, err := s.complete(t.Context(), s.phone(t, rand.Text()))
		if err != nil {
			t.Fatal(err)
		}
		s.readAll(t)
		if got := s.number(t, "SELECT count(*) FROM flow_responses WHERE wamid = ANY($1)", []string{before, after}); got != 2 {
			t.Errorf("%d of 2 answers are stored", got)
		}
		if err := s.Died(); err != nil {
			t.Error(err)
		}
	})
}

func TestRedisRestartedEmpty(t *testing.T) {
	t.Parallel()
	s := start(t, site.Options{})
	before, err := s.complete(t.Context(), s.phone(t, rand.Text()))
	if err != nil {
		t.Fatal(err)
	}
	s.readAll(t)
	if err := s.Servers.Redis.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := s.Servers.Redis.RestartEmpty(t.Context()); err != nil {
		t.Fatal(err)
	}

	t.Run("the edge keeps its definitions", func(t *testing.T) {
		eventually(t, 10*time.Second, "a new user is answered", func(ctx context.Context) error {
			reply, err := s.phone(t, rand.Text()).Init(ctx)
			var refusal *phone.RefusalError
			if errors.As(err, &refusal) && strings.HasPrefix(refusal.Reason, "status 404, expected exactly 200") {
				t.Fatal("the edge has forgotten the flow")
			}
			if err == nil && reply.ErrorMessage != "" {
				err = errors.New("still the fallback")
			}
			return err
		})
	})
	t.Run("the worker publishes again", func(t *testing.T) {
		o, err := redis.ParseURL(s.RedisURL)
		if err != nil {
			t.Fatal(err)
		}
		client := redis.NewClient(o)
		defer client.Close()
		keys := keyspace.New(s.Prefix, 0)
		eventually(t, 15*time.Second, "index and definition are there", func(ctx context.Context) error {
			hash, err := client.HGet(ctx, keys.Index(), keyspace.IndexField("default", csat)).Result()
			if err != nil {
				return err
			}
			return client.Get(ctx, keys.Definition(hash)).Err()
		})
	})
	t.Run("the worker makes its groups again and answers arrive", func(t *testing.T) {
		after, err := s.complete(t.Context(), s.phone(t, rand.Text()))
		if err != nil {
			t.Fatal(err)
		}
		s.readAll(t)
		if got := s.number(t, "SELECT count(*) FROM flow_responses WHERE wamid = ANY($1)", []string{before, after}); got != 2 {
			t.Errorf("%d of 2 answers are stored", got)
		}
		s.wantDelivered(t, 2)
		if err := s.Died(); err != nil {
			t.Error(err)
		}
	})
	t.Run("an edge that starts now has the definitions too", func(t *testing.T) {
		if err := s.Edge.Kill(); err != nil {
			t.Fatal(err)
		}
		if err := s.StartEdge(t.Context()); err != nil {
			t.Fatal(err)
		}
		eventually(t, 5*time.Second, "it serves the flow", func(ctx context.Context) error {
			_, err := s.phone(t, rand.Text()).Init(ctx)
			return err
		})
	})
}

func TestRedisNearlyFull(t *testing.T) {
	t.Parallel()
	s := start(t, site.Options{})
	o, err := redis.ParseURL(s.RedisURL)
	if err != nil {
		t.Fatal(err)
	}
	client := redis.NewClient(o)
	defer client.Close()
	webhookGets := func(want int) func(context.Context) error {
		return func(ctx context.Context) error {
			status, err := s.Webhook(ctx, completion("wamid."+rand.Text(), []byte(`{}`)))
			if err == nil && status != want {
				err = fmt.Errorf("status %d, want %d", status, want)
			}
			return err
		}
	}
	// A used memory of some megabytes is far above 80 % of one.
	if err := client.ConfigSet(t.Context(), "maxmemory", "1mb").Err(); err != nil {
		t.Fatal(err)
	}
	eventually(t, 5*time.Second, "webhooks are left to Meta", webhookGets(http.StatusServiceUnavailable))
	if err := client.ConfigSet(t.Context(), "maxmemory", "0").Err(); err != nil {
		t.Fatal(err)
	}
	eventually(t, 5*time.Second, "webhooks are taken again", webhookGets(http.StatusOK))
}
