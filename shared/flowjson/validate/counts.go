package validate

// countLimit is how many components of some types a screen may show at once.
type countLimit struct {
	types []string
	most  int
	since Version
	code  Code
}

var countLimits = []countLimit{
	{[]string{"Footer"}, 1, Version{}, MaxFooterPerScreen},
	{[]string{"EmbeddedLink"}, 2, Version{}, MaxEmbeddedLinkPerScreen},
	{[]string{"Image"}, 3, Version{}, MaxImagePerScreen},
	{[]string{"OptIn"}, 5, Version{}, MaxOptInPerScreen},
	{[]string{"PhotoPicker", "DocumentPicker"}, 1, Version{}, MaxOfTypePerScreen},
	{[]string{"NavigationList"}, 2, Version{}, MaxOfTypePerScreen},
	{[]string{"ImageCarousel"}, 2, Version{}, MaxOfTypePerScreen},
	{[]string{"Form"}, 1, Version{7, 0}, MaxOfTypePerScreen},
}

// branchKey is one branch of an If or a Switch.
type branchKey struct {
	in   *component
	name string
}

// checkTypesPerScreen counts what can show at the same time: of an If or a
// Switch the branch that has most.
func checkTypesPerScreen(c *checker) {
	for _, s := range c.screens {
		for i := range countLimits {
			if limit := &countLimits[i]; c.version.AtLeast(limit.since.Major, limit.since.Minor) {
				c.checkCount(s, limit)
			}
		}
	}
}

func (c *checker) checkCount(s *screen, limit *countLimit) {
	var found []*component
	for _, at := range s.components {
		for _, typ := range limit.types {
			if at.typ == typ {
				found = append(found, at)
			}
		}
	}
	if len(found) <= limit.most {
		return
	}
	if n := shownTogether(found); n > limit.most {
		code := limit.code
		places := make([]*node, len(found))
		for i, at := range found {
			places[len(found)-1-i] = at.attr("type") // the last one is the one too many
			if limit.code == MaxFooterPerScreen && at.depth > 0 {
				code = MoreThanOneFooter
			}
		}
		c.on(places...).error(code, "the screen has %d components of type %s, the most is %d", n, limit.names(), limit.most)
	}
}

func (l *countLimit) names() string {
	if len(l.types) == 2 {
		return l.types[0] + " or " + l.types[1]
	}
	return l.types[0]
}

// shownTogether is how many of the components can show at once. It counts them
// from the innermost out: a container stands before what it holds, and found is
// in the order of the text, so what is inside is counted first from the back.
func shownTogether(found []*component) int {
	inBranch := map[branchKey]int{}
	most := map[*component]int{} // of an If, a Switch or a Form
	total := 0
	for _, at := range found {
		n, inside := 1, at
		for inside.parent != nil {
			key := branchKey{inside.parent, inside.branch}
			inBranch[key] += n
			gain := inBranch[key] - most[inside.parent]
			if gain <= 0 {
				n = 0
				break
			}
			most[inside.parent] = inBranch[key]
			n, inside = gain, inside.parent
		}
		total += n
	}
	return total
}

func checkCarouselsPerFlow(c *checker) {
	const most = 3
	var found []*node
	c.each(func(at *component) { found = append(found, at.attr("type")) }, "ImageCarousel")
	if len(found) > most {
		c.on(found[most:]...).error(InvalidPropertyValue, "the flow has %d ImageCarousels, the most is %d", len(found), most)
	}
}
