package keyring

import (
	"crypto/rand"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
)

const (
	// ModePrivate is the mode of keys and passphrases.
	ModePrivate fs.FileMode = 0o600
	// ModePublic is the mode of public keys.
	ModePublic fs.FileMode = 0o644
)

// NewFile is a file that is to be written.
type NewFile struct {
	Path    string
	Content []byte
	Mode    fs.FileMode
}

// WriteNew writes files that must not exist yet, in their order: all of them, or
// none. A key that was overwritten is lost, and half a key too. The error is an
// fs.ErrExist when one is there already.
func WriteNew(files ...NewFile) error {
	for i, file := range files {
		if err := writeNew(file.Path, file.Content, file.Mode); err != nil {
			for _, written := range files[:i] {
				err = errors.Join(err, os.Remove(written.Path))
			}
			return err
		}
	}
	return nil
}

func writeNew(path string, content []byte, mode fs.FileMode) error {
	if err := Free(path); err != nil {
		return err
	}
	dir := filepath.Dir(path)
	temporary, err := writeTemporary(dir, content, mode)
	if err != nil {
		return err
	}
	defer os.Remove(temporary)
	// A link, other than a rename, fails when there is a file of that name by now.
	if err := os.Link(temporary, path); err != nil {
		if errors.Is(err, fs.ErrExist) {
			return existsError(path)
		}
		return writeInPlace(path, content, mode)
	}
	return syncDir(dir)
}

// replace writes a file in place of the one of that name, so that a reader, and who
// comes after a loss of power, finds one or the other.
func replace(path string, content []byte, mode fs.FileMode) error {
	dir := filepath.Dir(path)
	temporary, err := writeTemporary(dir, content, mode)
	if err != nil {
		return err
	}
	if err := os.Rename(temporary, path); err != nil {
		return errors.Join(err, os.Remove(temporary))
	}
	return syncDir(dir)
}

// writeTemporary writes a file under a name that no reader looks for, and has it on
// the disk.
func writeTemporary(dir string, content []byte, mode fs.FileMode) (path string, err error) {
	path = filepath.Join(dir, ".new-"+rand.Text())
	file, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, ModePrivate)
	if err != nil {
		return "", err
	}
	if _, err = file.Write(content); err == nil {
		if err = file.Chmod(mode); err == nil {
			err = file.Sync()
		}
	}
	if err = errors.Join(err, file.Close()); err != nil {
		return "", errors.Join(err, os.Remove(path))
	}
	return path, nil
}

// writeInPlace is for file systems without links.
func writeInPlace(path string, content []byte, mode fs.FileMode) (err error) {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, mode)
	if errors.Is(err, fs.ErrExist) {
		return existsError(path)
	}
	if err != nil {
		return err
	}
	_, err = file.Write(content)
	if err = errors.Join(err, file.Sync(), file.Close()); err != nil {
		return errors.Join(err, os.Remove(path))
	}
	return syncDir(filepath.Dir(path))
}

// syncDir makes the name of a file as durable as its content.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	_ = d.Sync() // some file systems cannot, and lose nothing by it
	return nil
}

// Free says that there is a file already where one would be written.
func Free(path string) error {
	if _, err := os.Lstat(path); err == nil {
		return existsError(path)
	}
	return nil
}

// existsError is the path of a file that is there already. It is an fs.ErrExist.
type existsError string

func (e existsError) Error() string {
	return string(e) + " is there already and is left as it is: choose another name"
}

func (existsError) Is(target error) bool { return target == fs.ErrExist }
