package doctortest_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/doctor"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/doctor/doctortest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const code = `package patient

import "github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/doctor"

const lost = "answers are lost"

func pulse(n int) doctor.Finding {
	const fix = "rest"
	if n > 100 {
		return doctor.Failed("pulse", fmt.Sprintf("%d beats, 50 %% too many", n), lost, fix)
	}
	return doctor.Warned("pulse", "some beats", lost+" later", fix)
}

func other(err error) doctor.Finding {
	return doctor.Failed("other", err.Error(), lost, "see why")
}
`

// Each place where a fault is reported is known by the texts that stand there.
func TestAFaultThatNoTestBreaksIsNamed(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{"pulse.go": code, "pulse_test.go": strings.ReplaceAll(code, "pulse", "tested")} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var proof doctortest.Proof
	missing := func() (lines []string) {
		t.Helper()
		all, err := proof.Missing(filepath.Join(dir, "*.go"))
		if err != nil {
			t.Fatal(err)
		}
		for _, one := range all {
			lines = append(lines, strings.TrimPrefix(one, dir+"/"))
		}
		return lines
	}
	want := []string{
		"pulse.go:10: … beats, 50 % too many / answers are lost / rest",
		"pulse.go:12: some beats / answers are lost later / rest",
		"pulse.go:16: answers are lost / see why",
	}
	if got := missing(); !slices.Equal(got, want) {
		t.Errorf("got %q", got)
	}
	for _, other := range []doctor.Finding{
		doctor.Warned("pulse", "120 beats, 50 % too many", "answers are lost", "rest"), // another status
		doctor.Failed("pulse", "120 beats, 50 % too many", "answers are lost", "run"),  // another fix
	} {
		proof.Saw(doctor.Report{Findings: []doctor.Finding{other}})
	}
	if got := missing(); !slices.Equal(got, want) {
		t.Errorf("after other findings %q", got)
	}
	proof.Saw(doctor.Report{Findings: []doctor.Finding{doctor.Failed("pulse", "120 beats, 50 % too many", "answers are lost", "rest")}})
	if got := missing(); !slices.Equal(got, want[1:]) {
		t.Errorf("after the fault was found %q", got)
	}
	if _, err := proof.Missing(filepath.Join(dir, "none*.go")); err == nil {
		t.Error("a place without faults is taken")
	}
}
