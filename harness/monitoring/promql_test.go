package monitoring

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// selector is one metric in an expression with the labels it is narrowed by.
type selector struct {
	metric string
	labels []string
}

// query is what an expression of PromQL asks for. It is read token by token, not
// by Prometheus' own parser, which would bring its dependencies and its Go
// version into every build of this workspace. It knows what a name means by what
// stands beside it.
type query struct {
	selectors []selector
	grouped   []string // labels of by, without, on, ignoring, group_left, group_right
}

var token = regexp.MustCompile(`"(?:[^"\\]|\\.)*"|[a-zA-Z_:][a-zA-Z0-9_:]*|\$[a-zA-Z_]+|[0-9][0-9a-zA-Z.]*|=~|!~|!=|==|>=|<=|[-+*/%^<>=(){},\[\]:]|\s+|.`)

// Names that are no metrics. A function is known by the bracket behind it.
var (
	grouping = []string{"by", "without", "on", "ignoring", "group_left", "group_right"}
	words    = append([]string{"and", "or", "unless", "offset", "bool", "inf", "nan"}, grouping...)
)

func parse(expression string) (query, error) {
	var tokens []string
	for _, t := range token.FindAllString(expression, -1) {
		if strings.TrimSpace(t) != "" {
			tokens = append(tokens, t)
		}
	}
	at := func(i int) string {
		if i < 0 || i >= len(tokens) {
			return ""
		}
		return tokens[i]
	}
	var q query
	var open []string
	for i := 0; i < len(tokens); i++ {
		t := tokens[i]
		switch {
		case strings.Contains("({[", t):
			open = append(open, t)
		case strings.Contains(")}]", t):
			if len(open) == 0 || open[len(open)-1]+t != map[string]string{")": "()", "}": "{}", "]": "[]"}[t] {
				return q, fmt.Errorf("%q closes nothing", t)
			}
			open = open[:len(open)-1]
		case !isName(t):
		case slices.Contains(grouping, t):
			if at(i+1) != "(" {
				if strings.HasPrefix(t, "group_") {
					continue
				}
				return q, fmt.Errorf("no labels behind %s", t)
			}
			for i += 2; at(i) != ")"; i++ {
				if at(i) == "" {
					return q, fmt.Errorf("the labels behind %s do not end", t)
				}
				if at(i) != "," {
					q.grouped = append(q.grouped, at(i))
				}
			}
		case slices.Contains(words, t):
		case len(open) > 0 && open[len(open)-1] == "{":
			if !slices.Contains([]string{"=", "!=", "=~", "!~"}, at(i+1)) || !strings.HasPrefix(at(i+2), `"`) {
				return q, fmt.Errorf("the label %s is compared with nothing", t)
			}
			last := &q.selectors[len(q.selectors)-1]
			last.labels = append(last.labels, t)
		case at(i+1) == "(": // a function
		case at(i+1) == "by" || at(i+1) == "without": // sum by (…)
		default:
			q.selectors = append(q.selectors, selector{metric: t})
		}
	}
	if len(open) > 0 {
		return q, fmt.Errorf("%q is not closed", open[len(open)-1])
	}
	if len(q.selectors) == 0 {
		return q, fmt.Errorf("it asks for no metric")
	}
	return q, nil
}

func isName(t string) bool {
	c := t[0]
	return c == '_' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
}

func TestWhatAQueryAsksFor(t *testing.T) {
	for _, c := range []struct {
		expression string
		want       string
	}{
		{`up`, `[{up []}] []`},
		{`sum by (kind, le) (rate(a_total{kind!="x", y=~"a,b}"}[$__rate_interval])) / on (z) group_left b`, `[{a_total [kind y]} {b []}] [kind le z]`},
		{`increase(a[1h]) > 0 or (a unless a offset 1h) > 0`, `[{a []} {a []} {a []}] []`},
		{`sum(a) without (instance) or vector(0)`, `[{a []}] [instance]`},
		{`sum(rate(a[5m])`, `"(" is not closed`},
		{`sum(a))`, `")" closes nothing`},
		{`a{kind}`, `the label kind is compared with nothing`},
		{`sum by kind (a)`, `no labels behind by`},
		{`vector(0)`, `it asks for no metric`},
	} {
		q, err := parse(c.expression)
		got := fmt.Sprint(q.selectors, " ", q.grouped)
		if err != nil {
			got = err.Error()
		}
		if got != c.want {
			t.Errorf("%s: got %s, want %s", c.expression, got, c.want)
		}
	}
}
