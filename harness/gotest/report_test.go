package gotest

import (
	"bytes"
	"context"
	"slices"
	"strings"
	"testing"
)

func TestReport(t *testing.T) {
	const passes = `{"Action":"output","Package":"a/b","Test":"TestX","Output":"quiet\n"}
{"Action":"pass","Package":"a/b","Test":"TestX"}
{"Action":"output","Package":"a/b","Output":"PASS\n"}
{"Action":"output","Package":"a/b","Output":"ok  \ta/b\t0.01s\n"}
{"Action":"pass","Package":"a/b"}
`
	cases := []struct {
		name, events string
		want         []string
		not          []string
		err          string
	}{
		{"a package that passes is one line", passes, []string{"ok  \ta/b\t0.01s\n", "1 passed, 0 failed\n"}, []string{"quiet", "PASS"}, ""},
		{"a package without tests is no skip", passes + `{"Action":"skip","Package":"a/c"}`, []string{"1 passed, 0 failed"}, nil, ""},
		{"a skipped test is a failure", passes + `{"Action":"output","Package":"a/b","Test":"TestY","Output":"no server\n"}
{"Action":"skip","Package":"a/b","Test":"TestY"}`, []string{"no server", "skipped, which counts as a failure: a/b TestY", "1 passed, 1 failed"}, nil, "1 tests were skipped"},
		{"a failed test shows its output", `{"Action":"output","Package":"a/b","Test":"TestZ","Output":"why\n"}
{"Action":"fail","Package":"a/b","Test":"TestZ"}
{"Action":"fail","Package":"a/b"}`, []string{"why\n", "failed: a/b TestZ\n", "0 passed, 1 failed"}, nil, "1 tests or packages failed"},
		{"a package that does not build", `{"Action":"build-output","ImportPath":"a/b","Output":"syntax error\n"}
{"Action":"fail","Package":"a/b"}`, []string{"syntax error", "failed: a/b\n"}, nil, "failed"},
		{"nothing ran", "", []string{"0 passed, 0 failed"}, nil, "no test ran"},
		{"lines that are no events are shown", "go: something\n" + passes, []string{"go: something\n"}, nil, ""},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			var out bytes.Buffer
			report := NewReport(&out)
			if err := report.Read(strings.NewReader(c.events)); err != nil {
				t.Fatal(err)
			}
			err := report.Close()
			if (err == nil) != (c.err == "") || (err != nil && !strings.Contains(err.Error(), c.err)) {
				t.Errorf("error %v, want %q", err, c.err)
			}
			for _, want := range c.want {
				if !strings.Contains(out.String(), want) {
					t.Errorf("missing %q in:\n%s", want, out.String())
				}
			}
			for _, not := range c.not {
				if strings.Contains(out.String(), not) {
					t.Errorf("unwanted %q in:\n%s", not, out.String())
				}
			}
		})
	}
}

func TestArguments(t *testing.T) {
	var say bytes.Buffer
	every := Arguments(context.Background(), &say, []string{"-run=X"})
	if !slices.Contains(every, "./worker/...") || !slices.Contains(every, "-run=X") {
		t.Errorf("without a package every module is tested, got %q", every)
	}
	one := Arguments(context.Background(), &say, []string{"./shared/event"})
	if slices.Contains(one, "./worker/...") {
		t.Errorf("with a package only that one is tested, got %q", one)
	}
}

func TestCommandsByTheKeysThatCanBeBuilt(t *testing.T) {
	var say bytes.Buffer
	if err := Libcrypto(context.Background()); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name, rsa string
		given     []string
		tagged    bool
		runs      int
	}{
		{"every package: with libcrypto, then the keys without", "", nil, true, 3},
		{"some packages: with libcrypto", "auto", []string{"./shared/event"}, true, 1},
		{"without libcrypto", "go", nil, false, 1},
		{"other tags", "", []string{"-tags=failpoints"}, false, 1},
	} {
		commands, err := Commands(context.Background(), &say, c.rsa, c.given)
		if err != nil || len(commands) != c.runs || slices.Contains(commands[0], "-tags=libcrypto") != c.tagged {
			t.Errorf("%s: got %q, %v", c.name, commands, err)
		}
		if c.runs == 3 && !slices.Contains(commands[2], "CGO_ENABLED=0") {
			t.Errorf("%s: the last run has cgo: %q", c.name, commands[2])
		}
	}

	t.Setenv("CC", "no-such-compiler")
	if commands, err := Commands(context.Background(), &say, "libcrypto", nil); err == nil || !strings.Contains(err.Error(), "apt-get install gcc libc6-dev libssl-dev") {
		t.Errorf("libcrypto was demanded without a compiler: got %q, %v", commands, err)
	}
	say.Reset()
	commands, err := Commands(context.Background(), &say, "", nil)
	if err != nil || len(commands) != 1 || slices.Contains(commands[0], "-tags=libcrypto") || !strings.Contains(say.String(), "Only the keys of crypto/rsa are tested") {
		t.Errorf("no compiler: got %q, %v, and was told %q", commands, err, say.String())
	}
}
