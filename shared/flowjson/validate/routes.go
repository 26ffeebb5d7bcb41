package validate

import (
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/flowjson/jsontree"
)

// routes are the ways between the screens of a flow: those its routing model
// declares, or, without one, those its navigate actions imply.
type routes struct {
	screens []*screen // of different ids
	index   map[string]int
	// edge[i][j] is where it is written that a way leads from screen i to j; nil
	// when none does.
	edge [][]*node
}

// newRoutes has no ways yet. It is nil when there are more screens than a flow
// may have: a table of ways between all of them would grow without bounds, and
// the flow is refused anyway.
func newRoutes(d *document) *routes {
	if len(d.byID) > maxScreens {
		return nil
	}
	r := &routes{index: map[string]int{}}
	for _, s := range d.screens {
		if s.id != "" && d.byID[s.id] == s {
			r.index[s.id] = len(r.screens)
			r.screens = append(r.screens, s)
		}
	}
	r.edge = make([][]*node, len(r.screens))
	for i := range r.edge {
		r.edge[i] = make([]*node, len(r.screens))
	}
	return r
}

// add notes a way between two screens, if both exist.
func (r *routes) add(from, to string, at *node) {
	i, known := r.index[from]
	j, known2 := r.index[to]
	if known && known2 && r.edge[i][j] == nil {
		r.edge[i][j] = at
	}
}

// declaredRoutes reads routing_model. It is nil without one.
func declaredRoutes(d *document) *routes {
	model := d.root.Get("routing_model")
	if !model.Is(jsontree.Object) {
		return nil
	}
	r := newRoutes(d)
	if r == nil {
		return nil
	}
	for _, m := range model.Members {
		if m.Value.Kind != jsontree.Array {
			continue
		}
		for _, to := range m.Value.Items {
			if to.Kind == jsontree.String {
				r.add(m.Name, to.Text, to)
			}
		}
	}
	return r
}

// navigatedRoutes are those of the navigate actions.
func navigatedRoutes(d *document) *routes {
	r := newRoutes(d)
	if r == nil {
		return nil
	}
	for _, s := range d.screens {
		for _, comp := range s.components {
			comp.eachAction(func(a action) {
				if target := a.target(); target != nil {
					r.add(s.id, target.Text, target)
				}
			})
		}
	}
	return r
}

// entered says which screens a way leads to from another screen.
func (r *routes) entered() []bool {
	entered := make([]bool, len(r.screens))
	for i := range r.edge {
		for j, at := range r.edge[i] {
			entered[j] = entered[j] || at != nil && i != j
		}
	}
	return entered
}

// connected says which screens hang together with the first one, whatever way
// the ways lead.
func (r *routes) connected() []bool {
	seen := make([]bool, len(r.screens))
	open := []int{0}
	for seen[0] = true; len(open) > 0; {
		i := open[len(open)-1]
		open = open[:len(open)-1]
		for j := range r.screens {
			if !seen[j] && (r.edge[i][j] != nil || r.edge[j][i] != nil) {
				seen[j] = true
				open = append(open, j)
			}
		}
	}
	return seen
}

// circles are the screens that lie on a circle of three screens or more, those
// of each together. Ways to oneself and back at once are passed over.
func (r *routes) circles() [][]int {
	n := len(r.screens)
	leads := make([][]bool, n) // over any number of screens
	for i := range leads {
		leads[i] = make([]bool, n)
		for j := range leads[i] {
			leads[i][j] = i != j && r.edge[i][j] != nil && r.edge[j][i] == nil
		}
	}
	for over := range n {
		for i := range n {
			for j := range n {
				leads[i][j] = leads[i][j] || leads[i][over] && leads[over][j]
			}
		}
	}
	var list [][]int
	seen := make([]bool, n)
	for i := range n {
		var circle []int
		for j := i; j < n; j++ {
			if !seen[j] && leads[i][j] && leads[j][i] {
				seen[j] = true
				circle = append(circle, j)
			}
		}
		if circle != nil {
			list = append(list, circle)
		}
	}
	return list
}
