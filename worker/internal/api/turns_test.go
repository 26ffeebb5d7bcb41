package api

import (
	"fmt"
	"strings"
	"testing"
)

// A check takes a while, and waits for others: reads must not wait for it.
func TestFlowsAreReadWhileAnotherIsChecked(t *testing.T) {
	t.Parallel()
	s := serve(t)
	s.create("csat", flowJSON(t, "One"))
	s.api.checks.places <- struct{}{} // somebody's is being checked
	writes := make(chan *response)
	for i := range 2 * int(s.pool.Config().MaxConns) {
		go func() {
			body := input{"flowJson": flowJSON(t, fmt.Sprint(i))}
			method := []string{"PUT", "PATCH"}[i%2]
			writes <- s.send(method, "/api/flows/csat", body)
		}()
	}
	for s.api.checks.waiting.Load() < 2*int64(s.pool.Config().MaxConns) {
		s.get("/api/flows/csat").is(200)
	}
	if n := s.pool.Stat().AcquiredConns(); n != 0 {
		t.Errorf("%d connections are held by flows that wait for their check", n)
	}
	<-s.api.checks.places
	for range 2 * s.pool.Config().MaxConns {
		(<-writes).is(200)
	}
	if f := s.get("/api/flows/csat").flow(); f.LatestVersion != 1+2*int(s.pool.Config().MaxConns) {
		t.Errorf("%d versions", f.LatestVersion)
	}
}

// Of two changes of different parts neither may undo the other, although the
// content is checked before the flow is locked.
func TestPartsThatTwoChangeAtOnce(t *testing.T) {
	t.Parallel()
	s := serve(t)
	s.create("csat", flowJSON(t, "One"))
	s.api.checks.places <- struct{}{}
	late := make(chan *response)
	go func() { late <- s.send("PATCH", "/api/flows/csat", input{"logic": "screens: {}"}) }()
	for s.api.checks.waiting.Load() == 0 {
		s.get("/api/flows/csat").is(200)
	}
	// Meanwhile another worker changes the Flow JSON.
	other := New(Config{Pool: s.pool, Log: s.api.Log, Tokens: s.api.Tokens, Changed: func() {}})
	r := newRecorded(t, "PATCH", "/api/flows/csat", input{"flowJson": flowJSON(t, "Two")})
	other.ServeHTTP(r.recorder, r.request)
	if r.recorder.Code != 200 {
		t.Fatal(r.recorder.Body)
	}
	<-s.api.checks.places
	(<-late).is(200)
	f := s.get("/api/flows/csat").flow()
	if s.stored("csat") != flowJSON(t, "Two") || f.Logic == nil || *f.Logic != "screens: {}" || f.LatestVersion != 3 {
		t.Errorf("one of the changes is lost: %+v", f)
	}
}

// Large bodies are taken one after the other: each is a hundred megabytes of
// memory while it is read.
func TestLargeBodiesWaitForEachOther(t *testing.T) {
	t.Parallel()
	s := serve(t)
	for range largeAtOnce {
		s.api.large.places <- struct{}{}
	}
	s.create("small", flowJSON(t, "One"))
	done := make(chan *response)
	document := flowJSON(t, "Big") + strings.Repeat(" ", largeBody)
	go func() { done <- s.send("POST", "/api/flows", input{"name": "big", "flowJson": document}) }()
	for s.api.large.waiting.Load() == 0 {
		s.get("/api/flows/small").is(200)
	}
	select {
	case <-done:
		t.Fatal("a large body was read before its turn")
	default:
	}
	<-s.api.large.places
	(<-done).is(201)
	if s.stored("big") != document {
		t.Error("the document is another")
	}
}
