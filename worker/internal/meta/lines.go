package meta

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
)

const (
	contextLines = 3

	// mostEdits bounds the search for the shortest difference, whose memory
	// grows with the square of it; beyond, all lines count as changed.
	mostEdits = 600
	// mostLines bounds what is told of one flow.
	mostLines = 400
)

// pretty are the lines of a Flow JSON in one layout, keys in their own order.
func pretty(flowJSON []byte) []string {
	var b bytes.Buffer
	if json.Indent(&b, bytes.TrimPrefix(flowJSON, []byte("\xef\xbb\xbf")), "", "  ") != nil {
		b.Reset()
		b.Write(flowJSON)
	}
	text := strings.TrimRight(b.String(), "\n")
	if text == "" {
		return nil
	}
	return strings.Split(text, "\n")
}

// edit is a line of a difference: ' ' in both, '-' in the old one only, '+' in
// the new one only.
type edit struct {
	kind byte
	line string
}

// lineDiff is a unified difference without a head.
func lineDiff(old, new []string) []string {
	edits := editsOf(old, new)
	var out []string
	oldLine, newLine := 1, 1
	for i := 0; i < len(edits); {
		if edits[i].kind == ' ' {
			i, oldLine, newLine = i+1, oldLine+1, newLine+1
			continue
		}
		// A hunk reaches back over what stands before, and on to where enough
		// lines in a row are the same.
		from := max(i-contextLines, 0)
		to, same := i, 0
		for to < len(edits) && same <= 2*contextLines {
			if same++; edits[to].kind != ' ' {
				same = 0
			}
			to++
		}
		to -= max(same-contextLines, 0)
		hunk := edits[from:to]
		out = append(out, fmt.Sprintf("@@ -%d,%d +%d,%d @@", oldLine-(i-from), count(hunk, '+'), newLine-(i-from), count(hunk, '-')))
		for _, e := range hunk {
			out = append(out, string(e.kind)+e.line)
		}
		for ; i < to; i++ {
			if edits[i].kind != '+' {
				oldLine++
			}
			if edits[i].kind != '-' {
				newLine++
			}
		}
		if len(out) > mostLines {
			return append(out[:mostLines], "… there is more")
		}
	}
	return out
}

// count is how many lines of a hunk are not of the other side alone.
func count(hunk []edit, other byte) (n int) {
	for _, e := range hunk {
		if e.kind != other {
			n++
		}
	}
	return n
}

// editsOf finds the shortest way from old to new (Myers, "An O(ND) difference
// algorithm", 1986).
func editsOf(old, new []string) []edit {
	head := 0
	for head < len(old) && head < len(new) && old[head] == new[head] {
		head++
	}
	tail := 0
	for tail < len(old)-head && tail < len(new)-head && old[len(old)-1-tail] == new[len(new)-1-tail] {
		tail++
	}
	var edits []edit
	add := func(kind byte, lines []string) {
		for _, line := range lines {
			edits = append(edits, edit{kind, line})
		}
	}
	add(' ', old[:head])
	edits = append(edits, middle(old[head:len(old)-tail], new[head:len(new)-tail])...)
	add(' ', old[len(old)-tail:])
	return edits
}

func middle(old, new []string) []edit {
	most := min(len(old)+len(new), mostEdits)
	furthest := make([]int, 2*most+3) // furthest[k+most+1] is x on diagonal k
	var steps [][]int
	for d := 0; d <= most; d++ {
		steps = append(steps, slices.Clone(furthest))
		for k := -d; k <= d; k += 2 {
			x := 0
			if k == -d || k != d && furthest[k-1+most+1] < furthest[k+1+most+1] {
				x = furthest[k+1+most+1]
			} else {
				x = furthest[k-1+most+1] + 1
			}
			for x < len(old) && x-k < len(new) && old[x] == new[x-k] {
				x++
			}
			furthest[k+most+1] = x
			if k == len(old)-len(new) && x >= len(old) {
				return back(old, new, steps, most, d)
			}
		}
	}
	var all []edit
	for _, line := range old {
		all = append(all, edit{'-', line})
	}
	for _, line := range new {
		all = append(all, edit{'+', line})
	}
	return all
}

// back walks from the end along the steps that led there.
func back(old, new []string, steps [][]int, most, d int) []edit {
	var edits []edit
	x, y := len(old), len(new)
	for ; d > 0; d-- {
		furthest := steps[d]
		k := x - y
		before := k - 1
		if k == -d || k != d && furthest[k-1+most+1] < furthest[k+1+most+1] {
			before = k + 1
		}
		startX := furthest[before+most+1]
		snake := startX // where, after the one edit, lines begin to be the same
		if before == k-1 {
			snake++
		}
		for ; x > snake; x, y = x-1, y-1 {
			edits = append(edits, edit{' ', old[x-1]})
		}
		if before == k+1 {
			edits = append(edits, edit{'+', new[y-1]})
			y--
		} else {
			edits = append(edits, edit{'-', old[x-1]})
			x--
		}
	}
	for ; x > 0; x-- {
		edits = append(edits, edit{' ', old[x-1]})
	}
	slices.Reverse(edits)
	return edits
}
