package validate

import (
	"fmt"
	"strings"
)

// suggest returns `did you mean "label"?` for something that is almost one of
// the known names, and nothing for what is like none of them.
func suggest(got string, known []string) string {
	const longest = 64
	if len(got) > longest {
		return ""
	}
	best, least, folded := "", len(got)/3+1, fold(got)
	for _, name := range known {
		if name == got || len(name) > longest {
			continue
		}
		if fold(name) == folded {
			return fmt.Sprintf("did you mean %q?", name)
		}
		if abs(len(got)-len(name)) >= least {
			continue
		}
		if d := distance(got, name); d < least {
			best, least = name, d
		}
	}
	if best == "" {
		return ""
	}
	return fmt.Sprintf("did you mean %q?", best)
}

// withSuggestion is a suggestion as the end of a message. It is worked out when
// the message is written, as a hostile document may have a million wrong names.
func withSuggestion(got string, known []string) fmt.Stringer { return suggestion{got, known} }

type suggestion struct {
	got   string
	known []string
}

func (s suggestion) String() string {
	if text := suggest(s.got, s.known); text != "" {
		return ": " + text
	}
	return ""
}

func abs(n int) int { return max(n, -n) }

// fold makes onClickAction, on_click_action and on-click-action one.
func fold(name string) string {
	return strings.ToLower(strings.NewReplacer("-", "", "_", "", " ", "").Replace(name))
}

// distance counts the letters to insert, delete, replace or swap with their
// neighbour to make b of a.
func distance(a, b string) int {
	before, last, row := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row[0] = i
		for j := 1; j <= len(b); j++ {
			replace := last[j-1]
			if a[i-1] != b[j-1] {
				replace++
			}
			row[j] = min(row[j-1]+1, last[j]+1, replace)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		before, last, row = last, row, before
	}
	return last[len(b)]
}
