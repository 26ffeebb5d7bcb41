package e2e

import (
	"crypto/rand"
	"testing"
	"time"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/harness/site"
)

// outage is how long Postgres is away: longer than every timeout of the worker.
const outage = time.Minute

func TestPostgresStoppedUnderLoad(t *testing.T) {
	t.Parallel()
	s := start(t, site.Options{})
	users := startLoad(t, s, 2)
	before := users.completed()
	if err := s.Servers.Postgres.Kill(); err != nil {
		t.Fatal(err)
	}
	<-time.NewTimer(outage).C
	if during := users.completed() - before; during == 0 {
		t.Error("no conversation was completed while Postgres was away: the edge must not need it")
	}
	if unread, err := s.Unread(t.Context()); err != nil || unread == 0 {
		t.Errorf("%d entries wait on the streams (%v), want some", unread, err)
	}
	if err := s.Died(); err != nil {
		t.Fatal(err)
	}
	if err := s.Servers.Postgres.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	// …and once more in the middle of catching up.
	if err := s.Servers.Postgres.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := s.Servers.Postgres.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	wamids := users.end(t)
	s.readAll(t)
	s.wantStored(t, wamids)
	s.wantDelivered(t, len(wamids))
}

func TestWorkerStartsBeforeItsServers(t *testing.T) {
	t.Parallel()
	s := install(t, site.Options{})
	if err := s.Servers.Postgres.Stop(); err != nil {
		t.Fatal(err)
	}
	if err := s.Servers.Redis.Stop(); err != nil {
		t.Fatal(err)
	}
	started := make(chan error, 1)
	go func() { started <- s.StartWorker(t.Context()) }()
	<-time.NewTimer(time.Second).C
	inParallel(t,
		func() error { return s.Servers.Postgres.Restart(t.Context()) },
		func() error { return s.Servers.Redis.Restart(t.Context()) },
		func() error { return <-started },
		func() error { return s.StartEdge(t.Context()) },
	)
	publish(t, s)
	wamid, err := s.complete(t.Context(), s.phone(t, rand.Text()))
	if err != nil {
		t.Fatal(err)
	}
	s.readAll(t)
	s.wantStored(t, []string{wamid})
}
