package validate

import (
	commandline "flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

var update = commandline.Bool("update", false, "write the table of rules into docs/validator.md")

func TestTheTableOfRulesInTheDocumentationIsRight(t *testing.T) {
	const begin, end = "<!-- rules -->\n", "<!-- end of rules -->\n"
	file := filepath.Join("..", "..", "..", "docs", "validator.md")
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, found := strings.Cut(string(text), begin)
	table, after, found2 := strings.Cut(rest, end)
	if !found || !found2 {
		t.Fatalf("%s has no place for the rules", file)
	}
	var want strings.Builder
	want.WriteString("| rule | errors | warnings | source |\n|---|---|---|---|\n")
	for _, r := range allRules() {
		errors, warnings := exampleCodes(t, r.name)
		fmt.Fprintf(&want, "| %s | %s | %s | %s |\n", r.name, quoted(errors), quoted(warnings), r.source)
	}
	if *update {
		if err := os.WriteFile(file, []byte(before+begin+want.String()+end+after), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if table != want.String() {
		t.Errorf("the table of rules in %s is not that of the code: run go test ./flowjson/validate -run Documentation -update", file)
	}
}

// exampleCodes are those that the documents of a rule show.
func exampleCodes(t *testing.T, rule string) (errors, warnings []string) {
	for _, e := range readExamples(t, filepath.Join("testdata", "rules", rule+".txt")) {
		name, isWarning := strings.CutPrefix(strings.TrimSuffix(e.name, ".json"), "warn-")
		code, _, _ := strings.Cut(name, "-")
		switch {
		case code == "valid":
		case isWarning:
			warnings = append(warnings, code)
		default:
			errors = append(errors, code)
		}
	}
	slices.Sort(errors)
	slices.Sort(warnings)
	return slices.Compact(errors), slices.Compact(warnings)
}

func quoted(codes []string) string {
	if len(codes) == 0 {
		return ""
	}
	return "`" + strings.Join(codes, "` `") + "`"
}
