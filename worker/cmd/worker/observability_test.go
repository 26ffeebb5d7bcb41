package main

import (
	"bytes"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/go-redis/v9"
	"go.uber.org/zap"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/event"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/worker/internal/settings"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/worker/internal/testkit"
)

// metricRow is a row of a table of docs/observability.md:
//
//	| `name` | type | `label` `label` | meaning |
var metricRow = regexp.MustCompile("(?m)^\\| `([a-z_]+)` \\| ([a-z]+) \\|([^|]*)\\| [^|]+ \\|$")

type documented struct {
	kind   string
	labels string // sorted, separated by spaces
}

// documentedMetrics are those of one section, up to the next of its level.
func documentedMetrics(t *testing.T, section string) map[string]documented {
	t.Helper()
	text, err := os.ReadFile("../../../docs/observability.md")
	if err != nil {
		t.Fatal(err)
	}
	_, found, ok := strings.Cut(string(text), "\n"+section+"\n")
	if !ok {
		t.Fatalf("docs/observability.md has no section %q", section)
	}
	found, _, _ = strings.Cut(found, "\n### ")
	all := make(map[string]documented)
	for _, row := range metricRow.FindAllStringSubmatch(found, -1) {
		labels := strings.Fields(strings.ReplaceAll(row[3], "`", ""))
		slices.Sort(labels)
		if _, twice := all[row[1]]; twice {
			t.Errorf("docs/observability.md has %s twice", row[1])
		}
		all[row[1]] = documented{row[2], strings.Join(labels, " ")}
	}
	return all
}

var descriptor = regexp.MustCompile(`^Desc\{fqName: "([^"]+)", help: ".*", constLabels: \{(.*)\}, variableLabels: \{(.*)\}\}$`)

// registered are the labels of every metric of a registry, with samples or not.
func registered(t *testing.T, registry *prometheus.Registry) map[string]string {
	t.Helper()
	descriptors := make(chan *prometheus.Desc)
	go func() { registry.Describe(descriptors); close(descriptors) }()
	all := make(map[string]string)
	for d := range descriptors {
		parts := descriptor.FindStringSubmatch(d.String())
		if parts == nil {
			t.Errorf("%s is not understood", d)
			continue
		}
		labels := strings.FieldsFunc(parts[3], func(r rune) bool { return r == ',' })
		for constant := range strings.SplitSeq(parts[2], ",") {
			if name, _, ok := strings.Cut(constant, "="); ok {
				labels = append(labels, name)
			}
		}
		slices.Sort(labels)
		all[parts[1]] = strings.Join(labels, " ")
	}
	return all
}

// The dashboard and the alerts are checked against docs/observability.md, by
// another test; here docs/observability.md is checked against the worker.
func TestEveryMetricOfTheWorkerIsDocumentedAndNoneInvented(t *testing.T) {
	_, _, prefix := testkit.Redis(t, 2)
	c := newCommand(t.Context(), map[string]string{
		"DATABASE_URL": testkit.EmptyDatabaseURL(t), "REDIS_URL": testkit.RedisURL(t), "REDIS_PREFIX": prefix, "REDIS_SHARDS": "2",
		"LISTEN_ADDR": "127.0.0.1:0", "WORKER_NAME": "w",
	})
	s, err := settings.ReadServe(c.process.source)
	if err != nil {
		t.Fatal(err)
	}
	w := newWorker(s, zap.NewNop())
	defer w.stop()
	if err := w.start(t.Context()); err != nil {
		t.Fatal(err)
	}
	found := registered(t, w.registry)
	listed := documentedMetrics(t, "### The worker")
	for _, name := range slices.Sorted(maps.Keys(found)) {
		if _, ok := listed[name]; !ok && strings.HasPrefix(name, "whatsapp_flows_") {
			t.Errorf("%s{%s} is not in docs/observability.md", name, found[name])
		}
	}
	for _, name := range slices.Sorted(maps.Keys(listed)) {
		if labels, ok := found[name]; !ok {
			t.Errorf("docs/observability.md has %s, which no worker registers", name)
		} else if labels != listed[name].labels {
			t.Errorf("docs/observability.md has %s{%s}, registered is %s{%s}", name, listed[name].labels, name, labels)
		}
	}
	families, err := w.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if d, ok := listed[f.GetName()]; ok && d.kind != strings.ToLower(f.GetType().String()) {
			t.Errorf("docs/observability.md has %s as %s, it is a %s", f.GetName(), d.kind, f.GetType())
		}
	}
}

func TestServeSendsSpansOfWhatItStores(t *testing.T) {
	const traceID, kind = "\x4b\xf9\x2f\x35\x77\xb3\x4d\xa6\xa3\xce\x92\x9d\x0e\x0e\x47\x36", "store webhook"
	sent := make(chan []byte, 10)
	collector := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		sent <- body
	}))
	defer collector.Close()
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.URL)
	client, keys, prefix := testkit.Redis(t, 2)
	s := serve(t, map[string]string{
		"DATABASE_URL": testkit.EmptyDatabaseURL(t), "REDIS_URL": testkit.RedisURL(t), "REDIS_PREFIX": prefix, "REDIS_SHARDS": "2",
	})
	s.waitReady(t)
	e := event.Entry{Kind: event.KindWebhook, Account: "default", ID: "one", Time: time.Now(), Source: "edge", Seq: 1,
		Traceparent: "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", Body: []byte("{}")}
	if err := client.XAdd(t.Context(), &redis.XAddArgs{Stream: keys.Events(1), Values: e.Values()}).Err(); err != nil {
		t.Fatal(err)
	}
	testkit.Eventually(t, "it is stored", func() bool {
		n, err := client.XLen(t.Context(), keys.Events(1)).Result()
		return err == nil && n == 0
	})
	if code := s.stop(); code != 0 { // which sends the last spans
		t.Errorf("exit code %d: %s", code, s.stderr.String())
	}
	select {
	case body := <-sent:
		if !bytes.Contains(body, []byte(traceID)) || !bytes.Contains(body, []byte(kind)) {
			t.Errorf("spans without the trace or without %q: %q", kind, body)
		}
	default:
		t.Errorf("no span was sent: %s", s.stderr.String())
	}
}
