// Package doctortest is what the tests of doctor's checks have in common: a case
// breaks one thing, Compare holds that it is found and nothing else, and Exit that
// the cases have shown every fault that the code can report.
package doctortest

import (
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/doctor"
)

// Proof is what the tests of a package have seen.
type Proof struct {
	// Secrets are in no finding.
	Secrets []string
	// Leave are findings that are not judged unless a case names them: what servers
	// of tests do otherwise than those of installations.
	Leave []string
	// Skips says that a finding that a case does not name may be one of what was
	// not looked at.
	Skips bool

	mu   sync.Mutex
	seen []doctor.Finding
}

// Anything is what a case wants of a finding that it says nothing about.
const Anything = "any"

// Compare fails t unless each finding that want names has that status, then a
// space, then what its evidence holds, and all others are fine.
func (p *Proof) Compare(t testing.TB, report doctor.Report, want map[string]string) {
	t.Helper()
	p.Saw(report)
	for _, f := range report.Findings {
		wanted, named := want[f.Name]
		status, evidence, _ := strings.Cut(wanted, " ")
		switch {
		case wanted == Anything, !named && slices.Contains(p.Leave, f.Name):
			status = string(f.Status)
		case !named && p.Skips && f.Status == doctor.Skipped:
			status = string(doctor.Skipped)
		case !named:
			status = string(doctor.OK)
		}
		if string(f.Status) != status || !strings.Contains(f.Evidence, evidence) {
			t.Errorf("%+v, want %s with %q", f, status, evidence)
		}
		if f.Evidence == "" {
			t.Errorf("%+v says nothing", f)
		}
		if (f.Status == doctor.Fail || f.Status == doctor.Warn) && (f.Meaning == "" || f.Fix == "") {
			t.Errorf("%+v has no meaning or fix", f)
		}
		for _, secret := range p.Secrets {
			if strings.Contains(fmt.Sprint(f), secret) {
				t.Errorf("%+v shows a secret", f)
			}
		}
	}
	for name := range want {
		if !slices.ContainsFunc(report.Findings, func(f doctor.Finding) bool { return f.Name == name }) {
			t.Errorf("nothing is said of %s", name)
		}
	}
}

// Saw notes findings that a test has looked at itself.
func (p *Proof) Saw(report doctor.Report) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.seen = append(p.seen, report.Findings...)
}

// Exit is the exit code of a package's tests: code, or 1 when all of them have run
// well and there is a fault that the files can report and no test has seen. It is
// for TestMain.
func (p *Proof) Exit(code int, files ...string) int {
	if code != 0 || !whole() {
		return code
	}
	missing, err := p.Missing(files...)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	for _, site := range missing {
		fmt.Fprintf(os.Stderr, "%s can be found, but no test breaks it\n", site)
	}
	return min(len(missing), 1)
}

// whole says that no test was left out.
func whole() bool {
	for _, name := range []string{"test.run", "test.skip", "test.list"} {
		if f := flag.Lookup(name); f != nil && f.Value.String() != "" {
			return false
		}
	}
	return true
}

// Missing are the faults that files (patterns of filepath.Glob) can report and no
// test has seen.
func (p *Proof) Missing(files ...string) (missing []string, err error) {
	sites, err := Sites(files...)
	if err != nil {
		return nil, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, site := range sites {
		if !slices.ContainsFunc(p.seen, site.Matches) {
			missing = append(missing, site.String())
		}
	}
	return missing, nil
}
