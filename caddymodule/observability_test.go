package caddymodule

import (
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
)

// Rows of docs/observability.md: | `name` | type | `label` `label` | meaning |
var (
	metricRow  = regexp.MustCompile("(?m)^\\| `([a-z_]+)` \\| ([a-z]+) \\|([^|]*)\\| [^|]+ \\|$")
	descriptor = regexp.MustCompile(`^Desc\{fqName: "([^"]+)", help: ".*", constLabels: \{(.*)\}, variableLabels: \{(.*)\}\}$`)
)

// The dashboard and the alerts are checked against docs/observability.md, by
// another test; here docs/observability.md is checked against the edge.
func TestEveryMetricOfTheEdgeIsDocumentedAndNoneInvented(t *testing.T) {
	text, err := os.ReadFile("../docs/observability.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(text), "\n### The edge\n")
	section, _, _ = strings.Cut(section, "\n## ")
	listed := make(map[string]string)
	for _, row := range metricRow.FindAllStringSubmatch(section, -1) {
		labels := strings.Fields(strings.ReplaceAll(row[3], "`", ""))
		slices.Sort(labels)
		listed[row[1]] = strings.Join(labels, " ")
	}

	registry := prometheus.NewRegistry()
	if err := registerMetrics(registry, new(backend)); err != nil {
		t.Fatal(err)
	}
	descriptors := make(chan *prometheus.Desc)
	go func() { registry.Describe(descriptors); close(descriptors) }()
	found := make(map[string]string)
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
		found[parts[1]] = strings.Join(labels, " ")
	}
	for _, name := range slices.Sorted(maps.Keys(found)) {
		if labels, ok := listed[name]; !ok {
			t.Errorf("%s{%s} is not in docs/observability.md", name, found[name])
		} else if labels != found[name] {
			t.Errorf("docs/observability.md has %s{%s}, registered is %s{%s}", name, labels, name, found[name])
		}
	}
	for _, name := range slices.Sorted(maps.Keys(listed)) {
		if _, ok := found[name]; !ok {
			t.Errorf("docs/observability.md has %s, which no edge registers", name)
		}
	}
}
