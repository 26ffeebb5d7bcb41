package api

import (
	"strings"
	"testing"
)

// The version that a client did not give is the one that the active Flow JSON
// declares, whichever that is.
func TestVersionFollowsTheActiveFlowJSON(t *testing.T) {
	t.Parallel()
	s := serve(t)
	first := flowJSON(t, "One")
	second := strings.Replace(first, `"7.3"`, `"7.2"`, 1)
	s.create("csat", first)
	version := func(want string) {
		t.Helper()
		if got := s.get("/api/flows/csat").flow().Version; got != want {
			t.Errorf("version %q, want %q", got, want)
		}
	}
	version("7.3")
	s.send("PATCH", "/api/flows/csat", input{"flowJson": second}).is(200)
	version("7.2")
	s.send("POST", "/api/flows/csat/versions/1/activate", nil).is(200)
	version("7.3")
	s.send("PUT", "/api/flows/csat?force=true", input{"flowJson": brokenFlowJSON}).is(200)
	version("7.3") // it is what is served
	s.send("PATCH", "/api/flows/csat?force=true", input{"flowJson": "no JSON"}).is(200)
	version("7.3")
	s.send("PATCH", "/api/flows/csat", input{"version": "mine"}).is(200)
	s.send("POST", "/api/flows/csat/versions/2/activate", nil).is(200)
	version("mine")
}
