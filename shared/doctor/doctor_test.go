package doctor_test

import (
	"context"
	"encoding/json"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/doctor"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/doctor/doctortest"
)

var proof doctortest.Proof

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) { os.Exit(proof.Exit(code, "*.go")) }))
}

func TestTheExitCodeIsThatOfTheWorstFinding(t *testing.T) {
	fine, skip := doctor.Fine("a", "x"), doctor.Skip("b", "x")
	warn, fail := doctor.Warned("c", "x", "y", "z"), doctor.Failed("d", "x", "y", "z")
	for name, c := range map[string]struct {
		findings []doctor.Finding
		want     int
	}{
		"nothing":                 {nil, 0},
		"all well":                {[]doctor.Finding{fine, skip}, 0},
		"a warning":               {[]doctor.Finding{warn, fine, skip}, 1},
		"a warning and a failure": {[]doctor.Finding{fail, warn, skip}, 2},
	} {
		t.Run(name, func(t *testing.T) {
			if got := (doctor.Report{Findings: c.findings}).ExitCode(); got != c.want {
				t.Errorf("exit code %d, want %d", got, c.want)
			}
		})
	}
}

func TestAReportForPeopleAndForPrograms(t *testing.T) {
	report := doctor.Report{Findings: []doctor.Finding{
		doctor.Fine("redis: version", "Redis %s", "7.0.15"),
		doctor.Failed("redis: eviction policy", "allkeys-lru\x1b[31m", "answers are\nlost", "set noeviction"),
		doctor.Skip("meta", "no token; geheimer-token"),
	}}
	report.Hide("geheimer-token", "", "x")
	var text, program strings.Builder
	if err := report.Write(&text, doctor.FormatText); err != nil {
		t.Fatal(err)
	}
	const want = `ok    redis: version: Redis 7.0.15
FAIL  redis: eviction policy: allkeys-lru [31m
      means: answers are lost
      fix:   set noeviction
-     meta: no token; [secret]

1 failure, 0 warnings, 1 fine, 1 not looked at
`
	if text.String() != want {
		t.Errorf("got\n%s", text.String())
	}
	if err := report.Write(&program, doctor.FormatJSON); err != nil {
		t.Fatal(err)
	}
	var got struct {
		Status   string
		Counts   map[string]int
		Findings []doctor.Finding
	}
	if err := json.Unmarshal([]byte(program.String()), &got); err != nil || got.Status != "fail" || got.Counts["ok"] != 1 || len(got.Findings) != 3 || got.Findings[1].Fix != "set noeviction" {
		t.Errorf("%v: %s", err, program.String())
	}
	if err := report.Write(&text, "xml"); err == nil {
		t.Error("a format that does not exist is taken")
	}
}

func TestACheckThatComesToNoEndIsAFinding(t *testing.T) {
	report := doctor.Examine(t.Context(),
		doctor.Check{Name: "slow", Within: time.Nanosecond, Run: func(ctx context.Context) []doctor.Finding { <-ctx.Done(); return nil }},
		doctor.Check{Name: "quick", Run: func(context.Context) []doctor.Finding { return []doctor.Finding{doctor.Fine("quick", "yes")} }})
	proof.Saw(report)
	if slow := report.Find("slow"); slow.Status != doctor.Fail || report.Find("quick").Status != doctor.OK || report.Findings[0].Name != "slow" {
		t.Errorf("%+v", report)
	}
}

// A library may wait without a limit: the report comes all the same.
func TestACheckThatHeedsNoDeadlineIsLeftBehind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		end := make(chan bool)
		report := doctor.Examine(t.Context(), doctor.Check{Name: "deaf", Run: func(context.Context) []doctor.Finding { <-end; return nil }})
		if deaf := report.Find("deaf"); deaf.Status != doctor.Fail || !strings.Contains(deaf.Evidence, "no answer within 15s") {
			t.Errorf("%+v", report)
		}
		close(end)
	})
}

// Ctrl-C must not look like a report in which all is well.
func TestAnExaminationThatIsStoppedIsAFailure(t *testing.T) {
	ctx, stop := context.WithCancel(t.Context())
	report := doctor.Examine(ctx, doctor.Check{Name: "slow", Run: func(ctx context.Context) []doctor.Finding { stop(); <-ctx.Done(); return nil }})
	proof.Saw(report)
	if slow := report.Find("slow"); !strings.Contains(slow.Evidence, "was stopped") || report.ExitCode() != 2 {
		t.Errorf("%+v", report)
	}
}

func TestClocks(t *testing.T) {
	now := time.Date(2026, 11, 29, 12, 0, 0, 0, time.UTC)
	for name, c := range map[string]struct {
		theirs    time.Time
		precision time.Duration
		want      doctor.Status
		evidence  string
	}{
		"the same":                           {now, 0, doctor.OK, "less than"},
		"a date cut to the second":           {now.Add(-5 * time.Second), time.Second, doctor.OK, "less than"},
		"ten seconds ahead":                  {now.Add(-10 * time.Second), 0, doctor.Warn, "10s ahead of"},
		"two minutes behind":                 {now.Add(2 * time.Minute), 0, doctor.Fail, "2m0s behind"},
		"a time zone mistaken for the clock": {now.Add(-time.Hour), time.Second, doctor.Fail, "59m59s ahead of"},
	} {
		t.Run(name, func(t *testing.T) {
			f := doctor.Clock("Redis", now, now.Add(time.Millisecond), c.theirs, c.precision)
			proof.Saw(doctor.Report{Findings: []doctor.Finding{f}})
			if f.Status != c.want || !strings.Contains(f.Evidence, c.evidence) {
				t.Errorf("%+v", f)
			}
		})
	}
}

func TestModesOfSecretFiles(t *testing.T) {
	dir := t.TempDir()
	closed := filepath.Join(dir, "closed")
	for _, d := range []struct {
		path string
		mode fs.FileMode
	}{{dir, 0o755}, {closed, 0o700}} {
		if err := os.MkdirAll(d.path, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(d.path, d.mode); err != nil {
			t.Fatal(err)
		}
	}
	// Only what is below dir counts: where tests have their files is not ours.
	stat := func(path string) (fs.FileInfo, error) {
		if !strings.HasPrefix(path, dir) {
			path = "/"
		}
		return os.Stat(path)
	}
	for name, c := range map[string]struct {
		path string
		mode fs.FileMode
		want doctor.Status
	}{
		"only its owner":                        {filepath.Join(dir, "a"), 0o600, doctor.OK},
		"its group":                             {filepath.Join(dir, "b"), 0o640, doctor.OK},
		"everyone reads":                        {filepath.Join(dir, "c"), 0o644, doctor.Fail},
		"everyone writes":                       {filepath.Join(dir, "d"), 0o602, doctor.Fail},
		"everyone, in a directory of its owner": {filepath.Join(closed, "e"), 0o444, doctor.OK},
	} {
		t.Run(name, func(t *testing.T) {
			if err := os.WriteFile(c.path, []byte("x"), 0o600); err != nil {
				t.Fatal(err)
			}
			if err := os.Chmod(c.path, c.mode); err != nil {
				t.Fatal(err)
			}
			f := doctor.Modes("modes", []string{c.path}, stat)
			proof.Saw(doctor.Report{Findings: []doctor.Finding{f}})
			if f.Status != c.want {
				t.Errorf("%+v", f)
			}
		})
	}
	f := doctor.Modes("modes", []string{filepath.Join(dir, "none")}, stat)
	proof.Saw(doctor.Report{Findings: []doctor.Finding{f}})
	if f.Status != doctor.Fail {
		t.Errorf("a file that is not there: %+v", f)
	}
}
