package chaos

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/harness/proxy"
)

func networkFaults() []Fault {
	return []Fault{
		{
			Number: 14, Name: "half-open connections to Redis, then to Postgres", Bound: 20 * time.Second,
			Promise: "noticed: commits again within 12 s (Redis: a read blocks for 1 s, its socket for 10 s more) and within 20 s (Postgres: 15 s for a transaction)",
			Run:     halfOpen,
		},
		{
			Number: 15, Name: "Postgres slow and 1 % of its packets reset", Bound: 0,
			Promise: "throughput falls; 0/0; at most 32 duplicate POSTs, of completions whose connection was reset",
			Run:     slowPostgres,
		},
	}
}

func halfOpen(ctx context.Context, s *Scene) error {
	toRedis, redisURL, err := proxy.Before(s.Stack.RedisURL)
	if err != nil {
		return err
	}
	s.Defer(toRedis.Close)
	toPostgres, databaseURL, err := proxy.Before(s.Site.DatabaseURL)
	if err != nil {
		return err
	}
	s.Defer(toPostgres.Close)
	if _, err := s.StartWorker(ctx, "one", "REDIS_URL="+redisURL, "DATABASE_URL="+databaseURL); err != nil {
		return err
	}
	s.Producer.Start(s.Rate())
	for range Pick(s, 1, 3) {
		for _, side := range []struct {
			name  string
			proxy *proxy.Proxy
			bound time.Duration
		}{{"Redis", toRedis, 12 * time.Second}, {"Postgres", toPostgres, 20 * time.Second}} {
			if err := s.UnderLoad(ctx); err != nil {
				return err
			}
			side.proxy.Silence()
			began, from := time.Now(), s.Producer.Position()
			if _, err := s.Beyond(ctx, time.Minute, from); err != nil {
				return fmt.Errorf("after silence of %s: %w", side.name, err)
			}
			s.within("silence of "+side.name+": commits again", time.Since(began), side.bound)
		}
		s.MaxExpired += inFlight
	}
	return nil
}

func slowPostgres(ctx context.Context, s *Scene) error {
	s.MaxDuplicatePosts = inFlight
	_, p, err := s.throughProxy(ctx)
	if err != nil {
		return err
	}
	s.Producer.Start(Pick(s, 100, 500))
	if err := s.UnderLoad(ctx); err != nil {
		return err
	}
	began, err := s.arrived(ctx)
	if err != nil {
		return err
	}
	p.Delay(150 * time.Millisecond) // each way
	p.Reset(0.01)
	slow := Pick(s, 8*time.Second, time.Minute)
	if err := pause(ctx, slow); err != nil {
		return err
	}
	ended, err := s.arrived(ctx)
	if err != nil {
		return err
	}
	if ended == began {
		s.Miss("nothing was committed in %s", slow)
	}
	s.Note("%.0f entries/s were committed with 300 ms to each answer and 1 %% of packets reset", float64(ended-began)/slow.Seconds())
	p.Mend()
	s.MaxExpired = int(p.Resets()) * inFlight // each may have been of a claim
	s.Note("%d connections were reset", p.Resets())
	if _, err := s.Beyond(ctx, time.Minute, s.Producer.Position()); err != nil {
		return errors.Join(errors.New("after the network was mended"), err)
	}
	return s.noDead(ctx)
}
