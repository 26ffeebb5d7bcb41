// Package monitoring checks the dashboard and the alerts in deploy: whatever they
// ask for is in the tables of docs/observability.md, which the tests of the
// worker and of the edge compare with what is really registered.
package monitoring

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.uber.org/goleak"
	"go.yaml.in/yaml/v3"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func read(t *testing.T, path string) []byte {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join("..", "..", path))
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

type metric struct {
	kind   string
	labels []string
}

var metricRow = regexp.MustCompile("(?m)^\\| `([a-z_]+)` \\| ([a-z]+) \\|([^|]*)\\| [^|]+ \\|$")

// metrics are those of docs/observability.md under the names that a query uses.
func metrics(t *testing.T) map[string]metric {
	t.Helper()
	all := make(map[string]metric)
	for _, row := range metricRow.FindAllStringSubmatch(string(read(t, "docs/observability.md")), -1) {
		m := metric{kind: row[2], labels: strings.Fields(strings.ReplaceAll(row[3], "`", ""))}
		if m.kind == "histogram" {
			all[row[1]+"_sum"], all[row[1]+"_count"] = m, m
			m.labels = append(slices.Clone(m.labels), "le")
			all[row[1]+"_bucket"] = m
			continue
		}
		all[row[1]] = m
	}
	if len(all) < 50 {
		t.Fatalf("docs/observability.md has %d metrics: its tables are not understood", len(all))
	}
	return all
}

// target are the labels that Prometheus adds.
var target = []string{"instance", "job"}

func check(t *testing.T, where, expression string, known map[string]metric) {
	t.Helper()
	q, err := parse(expression)
	if err != nil {
		t.Errorf("%s: %s: %v", where, expression, err)
		return
	}
	possible := slices.Clone(target)
	for _, s := range q.selectors {
		m, ok := known[s.metric]
		if !ok {
			t.Errorf("%s: no such metric: %s", where, s.metric)
			continue
		}
		for _, label := range s.labels {
			if !slices.Contains(m.labels, label) && !slices.Contains(target, label) {
				t.Errorf("%s: %s has no label %s", where, s.metric, label)
			}
		}
		possible = append(possible, m.labels...)
		if m.kind == "counter" && !regexp.MustCompile(`(rate|increase)\(`+s.metric).MatchString(expression) && !strings.Contains(expression, "unless "+s.metric) {
			t.Errorf("%s: the counter %s is shown as it is", where, s.metric)
		}
	}
	for _, label := range q.grouped {
		if !slices.Contains(possible, label) {
			t.Errorf("%s: nothing in %s has a label %s", where, expression, label)
		}
	}
}

func TestTheAlertsAskForMetricsThatExist(t *testing.T) {
	var file struct {
		Groups []struct {
			Name  string
			Rules []struct {
				Alert       string
				Expr        string
				For         string
				Labels      map[string]string
				Annotations map[string]string
			}
		}
	}
	if err := yaml.Unmarshal(read(t, "deploy/prometheus/alerts.yml"), &file); err != nil {
		t.Fatal(err)
	}
	known := metrics(t)
	guide := string(read(t, "docs/observability.md"))
	names := make(map[string]bool)
	for _, group := range file.Groups {
		for _, rule := range group.Rules {
			check(t, rule.Alert, rule.Expr, known)
			if names[rule.Alert] || !strings.HasPrefix(rule.Alert, "WhatsAppFlows") {
				t.Errorf("%s: a name of its own is expected, beginning WhatsAppFlows", rule.Alert)
			}
			names[rule.Alert] = true
			if severity := rule.Labels["severity"]; severity != "critical" && severity != "warning" {
				t.Errorf("%s: severity %q", rule.Alert, severity)
			}
			for _, annotation := range []string{"summary", "meaning", "action"} {
				if rule.Annotations[annotation] == "" {
					t.Errorf("%s: no %s", rule.Alert, annotation)
				}
			}
			if !strings.Contains(guide, "| `"+rule.Alert+"` |") {
				t.Errorf("%s is not in docs/observability.md", rule.Alert)
			}
		}
	}
	for _, listed := range regexp.MustCompile("`(WhatsAppFlows[A-Za-z]+)`").FindAllStringSubmatch(guide, -1) {
		if !names[listed[1]] {
			t.Errorf("docs/observability.md has the alert %s, which there is not", listed[1])
		}
	}
}

func TestTheDashboardAsksForMetricsThatExist(t *testing.T) {
	type position struct{ H, W, X, Y int }
	var dashboard struct {
		Title         string
		UID           string
		SchemaVersion int
		Panels        []struct {
			ID          int
			Type        string
			Title       string
			Description string
			GridPos     position
			Datasource  struct{ Type, UID string }
			Targets     []struct {
				RefID      string
				Expr       string
				Datasource struct{ Type, UID string }
			}
		}
		Templating struct {
			List []struct{ Name, Type, Definition string }
		}
	}
	if err := json.Unmarshal(read(t, "deploy/grafana/whatsapp-flows.json"), &dashboard); err != nil {
		t.Fatal(err)
	}
	known := metrics(t)
	variables := make(map[string]bool)
	for _, v := range dashboard.Templating.List {
		variables[v.Name] = true
		if found := regexp.MustCompile(`^label_values\((\w+), (\w+)\)$`).FindStringSubmatch(v.Definition); v.Type == "query" &&
			(found == nil || !slices.Contains(known[found[1]].labels, found[2])) {
			t.Errorf("variable %s: %s", v.Name, v.Definition)
		}
	}
	if !variables["datasource"] || dashboard.UID == "" || dashboard.SchemaVersion < 39 {
		t.Errorf("dashboard %q, schema %d, variables %v", dashboard.UID, dashboard.SchemaVersion, variables)
	}
	shown := make(map[string]bool)
	ids := make(map[int]bool)
	taken := make(map[string]string) // cell of the grid to panel
	for _, p := range dashboard.Panels {
		if ids[p.ID] {
			t.Errorf("%s: its id %d is taken", p.Title, p.ID)
		}
		ids[p.ID] = true
		for x := range p.GridPos.W {
			for y := range p.GridPos.H {
				cell := fmt.Sprint(p.GridPos.X+x, ",", p.GridPos.Y+y)
				if other, ok := taken[cell]; ok {
					t.Fatalf("%s lies over %s", p.Title, other)
				}
				taken[cell] = p.Title
			}
		}
		if p.Type == "row" {
			continue
		}
		if p.Title == "" || p.Description == "" || len(p.Targets) == 0 || p.Datasource.UID != "${datasource}" {
			t.Errorf("panel %d %q: a title, a description, a query and the variable datasource are expected", p.ID, p.Title)
		}
		for _, query := range p.Targets {
			check(t, p.Title, query.Expr, known)
			if query.Datasource.UID != "${datasource}" {
				t.Errorf("%s %s: its datasource is not the variable", p.Title, query.RefID)
			}
			asked, _ := parse(query.Expr) // its error is reported above
			for _, selector := range asked.selectors {
				shown[selector.metric] = true
			}
		}
	}
	for _, row := range metricRow.FindAllStringSubmatch(string(read(t, "docs/observability.md")), -1) {
		if !shown[row[1]] && !shown[row[1]+"_bucket"] {
			t.Errorf("%s is on no panel", row[1])
		}
	}
}
