// Package keyring is the operator's side of private keys: a directory of them,
// and what the edge tells about those it holds.
//
// A directory holds each key in a file of its own, named by when it was made,
// beside the passphrase that opens it:
//
//	2026-11-29T09-25-19Z.pem
//	2026-11-29T09-25-19Z.pass
//	2026-11-29T09-25-19Z.pub   to upload by hand; nothing reads it
//	2026-08-01.pem
//	rotation.json   what `keys rotate` began and when it may end
//	retired/        keys that are not used any more
//
// The newest is the current one.
package keyring

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"
)

const (
	keySuffix        = ".pem"
	passphraseSuffix = ".pass"
	publicSuffix     = ".pub"
	retired          = "retired"

	// maxKeys bounds a directory: each key costs every envelope that none of
	// them opens one private operation.
	maxKeys = 8

	// stampLayout sorts as time does, and may stand in a name on every system.
	stampLayout = "2006-01-02T15-04-05Z"
)

// dated is what a key's name begins with, so that the order of names is that of
// time.
var dated = regexp.MustCompile(`^\d{4}-\d{2}-\d{2}([^0-9].*)?\.pem$`)

// File is one key of a directory.
type File struct {
	Path       string // of the PEM
	Passphrase string // path of its passphrase; "" when there is none beside it
}

// Public is where the public key stands, if it was written.
func (f File) Public() string { return strings.TrimSuffix(f.Path, keySuffix) + publicSuffix }

// List returns the keys of dir, the newest first. A directory without any is no
// error here.
func List(dir string) ([]File, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var files []File
	for _, entry := range slices.Backward(entries) { // ReadDir sorts by name
		name := entry.Name()
		// Not entry.IsDir: a mounted secret is a link.
		if !strings.HasSuffix(name, keySuffix) || strings.HasPrefix(name, ".") {
			continue
		}
		if !dated.MatchString(name) {
			return nil, fmt.Errorf("%s: its name does not say when the key was made: the newest key comes first, so each begins with its date, such as 2026-11-29.pem", filepath.Join(dir, name))
		}
		file := File{Path: filepath.Join(dir, name)}
		beside := strings.TrimSuffix(file.Path, keySuffix) + passphraseSuffix
		if _, err := os.Stat(beside); err == nil {
			file.Passphrase = beside
		} else if !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		files = append(files, file)
	}
	if len(files) > maxKeys {
		return nil, fmt.Errorf("%s holds %d keys, at most %d are taken: end rotations with `caddy whatsapp-flows keys rotate --finish`", dir, len(files), maxKeys)
	}
	return files, nil
}

// Add puts a key into dir as the newest. What belongs to it is written before it,
// so that a reader never meets a key without: its public half, and its passphrase,
// which may be nil.
func Add(dir string, key, passphrase, public []byte, now time.Time) (File, error) {
	others, err := List(dir)
	if err != nil {
		return File{}, err
	}
	if len(others) >= maxKeys {
		return File{}, fmt.Errorf("%s holds %d keys, which is the most: end rotations with `caddy whatsapp-flows keys rotate --finish`", dir, len(others))
	}
	var file File
	// Two keys of one second are told apart by taking the next second's name, also
	// when somebody else writes one at this moment.
	for ahead := range 5 {
		base := filepath.Join(dir, now.UTC().Add(time.Duration(ahead)*time.Second).Format(stampLayout))
		file = File{Path: base + keySuffix}
		if len(others) > 0 && others[0].Path >= file.Path {
			continue
		}
		parts := []NewFile{{file.Public(), public, ModePublic}}
		if passphrase != nil {
			file.Passphrase = base + passphraseSuffix
			parts = append(parts, NewFile{file.Passphrase, passphrase, ModePrivate})
		}
		if err = WriteNew(append(parts, NewFile{file.Path, key, ModePrivate})...); !errors.Is(err, fs.ErrExist) {
			return file, err
		}
	}
	if err != nil {
		return File{}, err
	}
	return File{}, fmt.Errorf("%s is not older than a key of now (%s): this machine's clock or that name is wrong", others[0].Path, file.Path)
}

// paths are the files that belong to a key and are there, the key first.
func (f File) paths() []string {
	return slices.DeleteFunc([]string{f.Path, f.Passphrase, f.Public()}, func(path string) bool {
		if path == "" {
			return true
		}
		_, err := os.Lstat(path)
		return errors.Is(err, fs.ErrNotExist)
	})
}

// Retired is a key that a Retire cut short has moved aside already, while something
// that belongs to it may still be there. path is where it was.
func Retired(path string) (file File, found bool) {
	aside := filepath.Join(filepath.Dir(path), retired, filepath.Base(path))
	if _, err := os.Lstat(aside); err != nil {
		return file, false
	}
	return File{Path: path, Passphrase: strings.TrimSuffix(path, keySuffix) + passphraseSuffix}, true
}

// Remove takes back what Add wrote.
func (f File) Remove() error {
	var errs []error
	for _, path := range f.paths() {
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// Retire moves a key and what belongs to it aside, into the directory `retired`
// beside them: modes stay, nothing is deleted. It returns the key's new path. On an
// error everything is where it was.
func (f File) Retire() (string, error) {
	dir := filepath.Join(filepath.Dir(f.Path), retired)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", err
	}
	paths := f.paths()
	target := func(path string) string { return filepath.Join(dir, filepath.Base(path)) }
	for _, path := range paths {
		if err := Free(target(path)); err != nil {
			return "", err
		}
	}
	// The key first: a passphrase without a key is nothing to a reader.
	for i, path := range paths {
		if err := os.Rename(path, target(path)); err != nil {
			for _, moved := range slices.Backward(paths[:i]) {
				err = errors.Join(err, os.Rename(target(moved), moved))
			}
			return "", err
		}
	}
	// A loss of power may undo the moving, which is no loss; it must not lose the
	// names on both sides.
	_ = errors.Join(syncDir(dir), syncDir(filepath.Dir(f.Path)))
	return target(f.Path), nil
}

// Restore undoes Retire.
func (f File) Restore() error {
	retiredKey := File{Path: filepath.Join(filepath.Dir(f.Path), retired, filepath.Base(f.Path))}
	if f.Passphrase != "" {
		retiredKey.Passphrase = filepath.Join(filepath.Dir(f.Path), retired, filepath.Base(f.Passphrase))
	}
	var errs []error
	for _, path := range slices.Backward(retiredKey.paths()) {
		errs = append(errs, os.Rename(path, filepath.Join(filepath.Dir(f.Path), filepath.Base(path))))
	}
	return errors.Join(errs...)
}
