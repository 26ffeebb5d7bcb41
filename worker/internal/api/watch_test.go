package api

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

func TestMetricsOfRequests(t *testing.T) {
	t.Parallel()
	registry := prometheus.NewRegistry()
	s := serve(t, func(c *Config) { c.Metrics = registry })
	s.create("csat", flowJSON(t, "One"))
	for _, path := range []string{"/api/flows/csat", "/api/flows/other", "/api/accounts/default/flows/csat", "/api/nonsense1", "/nonsense2", "/docs"} {
		s.get(path)
	}
	s.as("wrong").get("/api/flows/csat").is(401)
	s.send("MAKEUP", "/api/flows", nil)
	want := []string{
		"/api/accounts/{account}/flows/{flow} GET 2xx 1",
		"/api/flows POST 2xx 1",
		"/api/flows/{flow} GET 2xx 1",
		"/api/flows/{flow} GET 4xx 2",
		"/docs GET 2xx 1",
		"none GET 4xx 2",
		"none other 4xx 1",
	}
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	counted := make(map[string][]string)
	for _, family := range families {
		for _, m := range family.Metric {
			labels := make(map[string]string)
			for _, l := range m.Label {
				labels[l.GetName()] = l.GetValue()
			}
			n := m.GetCounter().GetValue() + float64(m.GetHistogram().GetSampleCount())
			counted[family.GetName()] = append(counted[family.GetName()], fmt.Sprint(labels["route"], " ", labels["method"], " ", labels["status"], " ", n))
		}
	}
	for _, name := range []string{"whatsapp_flows_worker_api_requests_total", "whatsapp_flows_worker_api_request_seconds"} {
		got := counted[name]
		slices.Sort(got)
		if !slices.Equal(got, want) {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
}

func TestRefusedTokensAreInTheLogOnceAMinute(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 23, 8, 0, 0, 0, time.UTC)
	s := serve(t, func(c *Config) { c.now = func() time.Time { return now } })
	for range 5 {
		s.as("a-secret-that-is-wrong").get("/api/flows").is(401)
	}
	s.as(readerToken).send("DELETE", "/api/flows/csat", nil).is(403)
	s.as(shopToken).get("/api/flows?account=bank").is(403)
	now = now.Add(61 * time.Second)
	s.as("a-secret-that-is-wrong").get("/api/flows").is(401)
	lines := s.log.FilterMessage("API request refused").All()
	var got []string
	for _, l := range lines {
		m := l.ContextMap()
		got = append(got, fmt.Sprint(m["reason"], " ", m["token"], " ", m["more_since_last_logged"]))
	}
	want := "[wrong_token <nil> 0 scope API_TOKENS line 2 0 account API_TOKENS line 1 0 wrong_token <nil> 4]"
	if fmt.Sprint(got) != want {
		t.Errorf("%v, want %s", got, want)
	}
	for _, l := range s.log.All() {
		if strings.Contains(fmt.Sprint(l.ContextMap()), "a-secret") {
			t.Errorf("the token is in the log: %v", l.ContextMap())
		}
	}
}
