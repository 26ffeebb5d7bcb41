package keyring_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/caddymodule/internal/keyring"
)

func write(t *testing.T, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

func names(t *testing.T, dir string) string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, entry := range entries {
		all = append(all, entry.Name())
	}
	return strings.Join(all, " ")
}

func TestTheNewestKeyComesFirst(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{
		"2026-01-31.pem", "2026-11-29T09-25-19Z.pem", "2026-11-29T09-25-19Z.pass", "2026-11-29.pem", "2026-02-01-acme.pem",
		"2026-11-29T09-25-19Z.pub", ".2027-01-01.pem", "README", "rotation.json",
	} {
		write(t, filepath.Join(dir, name), "x")
	}
	if err := os.Mkdir(filepath.Join(dir, "retired"), 0o700); err != nil {
		t.Fatal(err)
	}
	files, err := keyring.List(dir)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, file := range files {
		name := filepath.Base(file.Path)
		if file.Passphrase != "" {
			name += "+" + filepath.Base(file.Passphrase)
		}
		got = append(got, name)
	}
	if want := "2026-11-29T09-25-19Z.pem+2026-11-29T09-25-19Z.pass 2026-11-29.pem 2026-02-01-acme.pem 2026-01-31.pem"; strings.Join(got, " ") != want {
		t.Errorf("the keys are %v, expected %s", got, want)
	}
}

func TestADirectoryThatCannotBeOrderedIsRefused(t *testing.T) {
	for name, c := range map[string]struct {
		files []string
		want  string
	}{
		"a name without a date":       {[]string{"flow.pem"}, "its name does not say when the key was made"},
		"a date written another way":  {[]string{"29-11-2026.pem"}, "its name does not say when"},
		"a year of five digits":       {[]string{"20261-11-29.pem"}, "its name does not say when"},
		"a day of three digits":       {[]string{"2026-11-299.pem"}, "its name does not say when"},
		"more keys than anybody uses": {strings.Fields(strings.Repeat("x ", 9)), "holds 9 keys, at most 8"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			for i, file := range c.files {
				if file == "x" {
					file = "2026-01-0" + string(rune('1'+i)) + ".pem"
				}
				write(t, filepath.Join(dir, file), "x")
			}
			if _, err := keyring.List(dir); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v, expected %q", err, c.want)
			}
		})
	}
	if _, err := keyring.List(filepath.Join(t.TempDir(), "none")); err == nil {
		t.Error("a directory that is not there is no error")
	}
}

func TestAKeyIsAddedMovedAsideAndPutBackWithItsModes(t *testing.T) {
	dir := t.TempDir()
	now := time.Date(2026, 11, 29, 9, 25, 19, 0, time.UTC)
	write(t, filepath.Join(dir, "2026-01-01.pem"), "old")
	file, err := keyring.Add(dir, []byte("key"), []byte("pass"), []byte("public"), now)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := names(t, dir), "2026-01-01.pem 2026-11-29T09-25-19Z.pass 2026-11-29T09-25-19Z.pem 2026-11-29T09-25-19Z.pub"; got != want {
		t.Errorf("the directory holds %s, expected %s", got, want)
	}
	modes := func(dir string) {
		t.Helper()
		for suffix, want := range map[string]fs.FileMode{".pem": 0o600, ".pass": 0o600, ".pub": 0o644} {
			info, err := os.Stat(filepath.Join(dir, "2026-11-29T09-25-19Z"+suffix))
			if err != nil || info.Mode().Perm() != want {
				t.Errorf("%s in %s: %v, %v; expected mode %o", suffix, dir, info, err, want)
			}
		}
	}
	modes(dir)

	if _, err := keyring.Add(dir, []byte("other"), nil, []byte("public"), now.Add(-time.Hour)); err == nil || !strings.Contains(err.Error(), "is not older than a key of now") {
		t.Errorf("another key by a clock that went back: %v", err)
	}
	second, err := keyring.Add(dir, []byte("other"), nil, []byte("public"), now)
	if err != nil || second.Path <= file.Path {
		t.Errorf("another key in the same second: %s, %v", second.Path, err)
	}
	if err := second.Remove(); err != nil {
		t.Error(err)
	}
	to, err := file.Retire()
	if err != nil || to != filepath.Join(dir, "retired", "2026-11-29T09-25-19Z.pem") {
		t.Fatalf("moved to %s, %v", to, err)
	}
	modes(filepath.Join(dir, "retired"))
	if got := names(t, dir); got != "2026-01-01.pem retired" {
		t.Errorf("left are %s", got)
	}
	if err := file.Restore(); err != nil {
		t.Fatal(err)
	}
	modes(dir)
	write(t, filepath.Join(dir, "retired", "2026-11-29T09-25-19Z.pem"), "another of that name")
	if _, err := file.Retire(); err == nil || !strings.Contains(err.Error(), "left as it is") {
		t.Errorf("a file that was moved aside before is written over: %v", err)
	}
	if err := file.Remove(); err != nil || names(t, dir) != "2026-01-01.pem retired" {
		t.Errorf("taken back: %v; left are %s", err, names(t, dir))
	}
}

func TestAFileIsNeverWrittenOver(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "flow.pem")
	// Of many who write at once, one does.
	var all sync.WaitGroup
	var wrote atomic.Int32
	for i := range 8 {
		all.Go(func() {
			if keyring.WriteNew(keyring.NewFile{Path: path, Content: []byte{byte('a' + i), byte('a' + i)}, Mode: keyring.ModePrivate}) == nil {
				wrote.Add(1)
			}
		})
	}
	all.Wait()
	content, err := os.ReadFile(path)
	if err != nil || wrote.Load() != 1 || len(content) != 2 || content[0] != content[1] {
		t.Errorf("%d wrote it; it holds %q, %v", wrote.Load(), content, err)
	}
	if names(t, dir) != "flow.pem" {
		t.Errorf("what is left lying: %s", names(t, dir))
	}
	if err := os.Symlink("nowhere", filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	file := func(name string) keyring.NewFile {
		return keyring.NewFile{Path: filepath.Join(dir, name), Content: []byte("x"), Mode: keyring.ModePrivate}
	}
	if err := keyring.WriteNew(file("link")); err == nil {
		t.Error("a link that leads nowhere is written over")
	}
	if err := keyring.WriteNew(file("none/flow.pem")); err == nil {
		t.Error("a directory that is not there is no error")
	}
	if err := keyring.WriteNew(file("flow.pub"), file("flow.pem")); !errors.Is(err, fs.ErrExist) || names(t, dir) != "flow.pem link" {
		t.Errorf("two, of which one is there: %v; the directory holds %s", err, names(t, dir))
	}
}

// Keys that are made at the same moment, by commands that know nothing of each other:
// none takes away what belongs to another.
func TestKeysOfOneMomentDoNotHarmEachOther(t *testing.T) {
	now := time.Date(2026, 11, 29, 9, 25, 19, 0, time.UTC)
	for range 20 {
		dir := t.TempDir()
		var all sync.WaitGroup
		files := make([]keyring.File, 4)
		for i := range files {
			all.Go(func() {
				var err error
				own := []byte{byte('a' + i)}
				if files[i], err = keyring.Add(dir, own, own, own, now); err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
		for i, file := range files {
			for _, path := range []string{file.Path, file.Passphrase, file.Public()} {
				if content, err := os.ReadFile(path); err != nil || string(content) != string(rune('a'+i)) {
					t.Fatalf("%s holds %q of the key %c: %v", path, content, 'a'+i, err)
				}
			}
		}
	}
}

// What cannot be moved aside as a whole is not moved at all.
func TestAKeyThatCannotBeMovedAsideStaysWhole(t *testing.T) {
	dir := t.TempDir()
	file, err := keyring.Add(dir, []byte("key"), []byte("pass"), []byte("public"), time.Date(2026, 11, 29, 9, 25, 19, 0, time.UTC))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(dir, "retired"), 0o700); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, "retired", "2026-11-29T09-25-19Z.pub"), "another of that name")
	if _, err := file.Retire(); err == nil || !strings.Contains(err.Error(), "left as it is") {
		t.Errorf("error %v", err)
	}
	if got, want := names(t, dir), "2026-11-29T09-25-19Z.pass 2026-11-29T09-25-19Z.pem 2026-11-29T09-25-19Z.pub retired"; got != want {
		t.Errorf("the directory holds %s, expected %s", got, want)
	}
}

// A command that ended in the middle of moving a key aside is done again.
func TestAKeyHalfMovedAsideIsMovedOn(t *testing.T) {
	dir := t.TempDir()
	file, err := keyring.Add(dir, []byte("key"), []byte("pass"), []byte("public"), time.Date(2026, 11, 29, 9, 25, 19, 0, time.UTC))
	if err != nil {
		t.Fatal(err)
	}
	if _, found := keyring.Retired(file.Path); found {
		t.Error("it is said to be moved already")
	}
	if err := os.Mkdir(filepath.Join(dir, "retired"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(file.Path, filepath.Join(dir, "retired", filepath.Base(file.Path))); err != nil {
		t.Fatal(err)
	}
	half, found := keyring.Retired(file.Path)
	if !found {
		t.Fatal("it is not found")
	}
	if _, err := half.Retire(); err != nil || names(t, dir) != "retired" || strings.Count(names(t, filepath.Join(dir, "retired")), "2026-11-29T09-25-19Z.") != 3 {
		t.Errorf("%v; left are %s, moved %s", err, names(t, dir), names(t, filepath.Join(dir, "retired")))
	}
}

func TestARotationIsRemembered(t *testing.T) {
	dir := t.TempDir()
	if r, err := keyring.ReadRotation(dir); r != nil || err != nil {
		t.Errorf("at first: %v, %v", r, err)
	}
	want := keyring.Rotation{New: "ab", Old: []string{"cd"}, Begun: time.Unix(1000, 0).UTC(), Until: time.Unix(2000, 0).UTC()}
	if err := keyring.BeginRotation(dir, &want); err != nil {
		t.Fatal(err)
	}
	if err := keyring.BeginRotation(dir, &keyring.Rotation{New: "ef"}); !errors.Is(err, keyring.ErrUnderWay) {
		t.Errorf("another beside it: %v", err)
	}
	want.Old = []string{"cd", "ef"}
	if err := keyring.WriteRotation(dir, &want); err != nil {
		t.Fatal(err)
	}
	if names(t, dir) != "rotation.json" {
		t.Errorf("left lying: %s", names(t, dir))
	}
	if r, err := keyring.ReadRotation(dir); err != nil || r.New != want.New || !slices.Equal(r.Old, want.Old) || !r.Until.Equal(want.Until) {
		t.Errorf("read back: %+v, %v", r, err)
	}
	if err := keyring.EndRotation(dir); err != nil {
		t.Error(err)
	}
	if err := keyring.EndRotation(dir); err != nil {
		t.Errorf("ended twice: %v", err)
	}
	write(t, filepath.Join(dir, "rotation.json"), "{")
	if _, err := keyring.ReadRotation(dir); err == nil || !strings.Contains(err.Error(), "rotation.json") {
		t.Errorf("a damaged file: %v", err)
	}
}
