package logic

import (
	"regexp"
	"slices"
	"time"

	"cel.dev/cel-go/common/types"
)

// fetchNames are the fetches of a screen, their expressions not yet compiled.
func (c *compiler) fetchNames(screen string, n *node) []*fetch {
	if n == nil || n.kind == null {
		return nil
	}
	if n.kind != mapping {
		c.problem(n, "expected names with fetches, got %s", n.kind)
		return nil
	}
	var made []*fetch
	for _, m := range n.members {
		made = append(made, &fetch{screen: screen, name: m.name, line: m.line, column: m.column, fallback: types.NullValue})
	}
	return made
}

var (
	upstreamName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$`)
	methods      = []string{"GET", "POST", "PUT", "PATCH", "DELETE"}
)

const (
	maxTimeout = 10 * time.Second // as long as WhatsApp waits
	maxCache   = 24 * time.Hour
)

// fetches compiles the fetches of a screen. One may use those before it.
func (c *compiler) fetches(n *node, made []*fetch, s *scope) {
	for i, f := range made {
		from := n.members[i].value
		if !c.keys(from, "upstream", "method", "path", "body", "timeout", "cache", "fallback") {
			continue
		}
		if upstream := from.get("upstream"); upstream == nil {
			c.problem(from, "a fetch needs upstream, a name of the edge's configuration")
		} else if f.upstream = upstream.text; !upstreamName.MatchString(f.upstream) {
			c.problem(upstream, "expected the name of an upstream: letters, digits, _ and -; its address stands in the edge's configuration")
		}
		f.method = "GET"
		if method := from.get("method"); method != nil {
			if f.method = method.text; !slices.Contains(methods, f.method) {
				c.problem(method, "the method is %s, expected %s", clip(f.method), listed(methods, ""))
			}
		}
		c.inFetch = f
		if path := from.get("path"); path == nil {
			c.problem(from, `a fetch needs path, an expression such as "'/slots?day=' + urlEncode(form.day)"`)
		} else if checked := c.check(path, s); checked != nil {
			c.beginsPath(path, checked.NativeRep().Expr())
			c.encoded(path, checked)
			f.path = c.yields(path, c.prepare(path, s, checked), types.StringType)
		}
		c.fetchBody(f, from.get("body"), s)
		c.inFetch = nil
		f.timeout = c.duration(from.get("timeout"), maxTimeout)
		f.cache = c.duration(from.get("cache"), maxCache)
		if f.cache > 0 && f.method != "GET" {
			c.problem(from.get("cache"), "only a GET can be cached")
		}
		if fallback := from.get("fallback"); fallback != nil {
			f.fallback, _ = constant(fallback)
		}
	}
}

func (c *compiler) fetchBody(f *fetch, n *node, s *scope) {
	switch {
	case n == nil:
		return
	case f.method == "GET":
		c.problem(n, "a GET has no body: add method: POST")
	case n.kind == mapping:
		f.bodyMembers = append([]*assignment{}, c.assignments(n, s)...)
	default:
		f.body = c.compile(n, s)
	}
}

func (c *compiler) duration(n *node, most time.Duration) time.Duration {
	if n == nil {
		return 0
	}
	d, err := time.ParseDuration(n.text)
	if err != nil || d <= 0 || d > most {
		c.problem(n, "expected a time such as 800ms or 60s, more than 0 and at most %s", most)
		return 0
	}
	return d
}
