package servers

import (
	"os"
	"path/filepath"
	"testing"
)

func TestAFileSetAsideComesBackAsItWas(t *testing.T) {
	dir := t.TempDir()

	t.Run("a script that was there", func(t *testing.T) {
		path := filepath.Join(dir, "policy-rc.d")
		write(t, path, "#!/bin/sh\nexit 104\n", 0o750)
		before, _ := os.Stat(path)
		if err := setAside(path, []byte(noStart), 0o755); err != nil {
			t.Fatal(err)
		}
		if got := read(t, path); got != noStart {
			t.Errorf("meanwhile it holds %q", got)
		}
		if err := putBack(path); err != nil {
			t.Fatal(err)
		}
		after, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		if !os.SameFile(before, after) || before.Mode() != after.Mode() || !before.ModTime().Equal(after.ModTime()) {
			t.Errorf("not the same file: %v, was %v", after, before)
		}
		wantOnly(t, dir, "policy-rc.d")
		os.Remove(path)
	})
	t.Run("a file that was not there", func(t *testing.T) {
		path := filepath.Join(dir, "sub", "new.conf")
		if err := setAside(path, []byte("x"), 0o644); err != nil {
			t.Fatal(err)
		}
		if err := putBack(path); err != nil {
			t.Fatal(err)
		}
		wantOnly(t, filepath.Dir(path))
	})
	t.Run("what a killed run left is healed by the next", func(t *testing.T) {
		path := filepath.Join(dir, "left")
		write(t, path, "theirs", 0o644)
		if err := setAside(path, []byte("ours"), 0o644); err != nil {
			t.Fatal(err)
		}
		// …killed here; the next run begins with:
		for range 2 {
			if err := putBack(path); err != nil {
				t.Fatal(err)
			}
		}
		if got := read(t, path); got != "theirs" {
			t.Errorf("got %q, want theirs", got)
		}
	})
}

func TestPostgresBinariesAreFound(t *testing.T) {
	debian := t.TempDir()
	for _, version := range []string{"9.6", "13", "15"} {
		bin := filepath.Join(debian, version, "bin")
		for _, name := range []string{"postgres", "initdb"} {
			write(t, filepath.Join(bin, name), "#!/bin/sh\n", 0o755)
		}
	}
	clientOnly := filepath.Join(debian, "17", "bin")
	write(t, filepath.Join(clientOnly, "psql"), "#!/bin/sh\n", 0o755)

	if got, want := findPostgres("", debian), filepath.Join(debian, "15", "bin"); got != want {
		t.Errorf("newest with a server: %s, want %s", got, want)
	}
	wanted := filepath.Join(debian, "13", "bin")
	if got := findPostgres(wanted, debian); got != wanted {
		t.Errorf("PG_BINDIR first: %s, want %s", got, wanted)
	}
	t.Setenv("PATH", t.TempDir())
	if got := findPostgres("", t.TempDir()); got != "" {
		t.Errorf("found %s where nothing is", got)
	}
}

func TestContainersListenOnLoopbackOnly(t *testing.T) {
	pg, err := newPostgresContainer(false)
	if err != nil {
		t.Fatal(err)
	}
	redis, err := newRedisContainer()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []*container{pg, redis} {
		args := c.createArgs()
		for i, arg := range args {
			if arg == "--publish" && args[i+1][:10] != "127.0.0.1:" {
				t.Errorf("%s is published on %s", c.image, args[i+1])
			}
		}
	}
}

func write(t *testing.T, path, content string, mode os.FileMode) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), mode); err != nil {
		t.Fatal(err)
	}
}

func read(t *testing.T, path string) string {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}

func wantOnly(t *testing.T, dir string, names ...string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	if len(entries) != len(names) {
		t.Errorf("%s holds %v, want %v", dir, entries, names)
	}
}
