package keyring

import (
	"crypto/rand"
	"errors"
	"fmt"
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

// WriteNew writes a file that must not exist yet, and leaves either all of it or
// nothing: a key that was overwritten is lost, and half a key too.
func WriteNew(path string, content []byte, mode fs.FileMode) (err error) {
	if err := Free(path); err != nil {
		return err
	}
	dir := filepath.Dir(path)
	temporary := filepath.Join(dir, ".new-"+rand.Text())
	file, err := os.OpenFile(temporary, os.O_CREATE|os.O_EXCL|os.O_WRONLY, ModePrivate)
	if err != nil {
		return err
	}
	defer os.Remove(temporary)
	if _, err = file.Write(content); err == nil {
		if err = file.Chmod(mode); err == nil {
			err = file.Sync()
		}
	}
	if err = errors.Join(err, file.Close()); err != nil {
		return err
	}
	// A link, other than a rename, fails when there is a file of that name by now.
	if err := os.Link(temporary, path); err != nil {
		if errors.Is(err, fs.ErrExist) {
			return exists(path)
		}
		return writeInPlace(path, content, mode)
	}
	return syncDir(dir)
}

// writeInPlace is for file systems without links.
func writeInPlace(path string, content []byte, mode fs.FileMode) (err error) {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, mode)
	if errors.Is(err, fs.ErrExist) {
		return exists(path)
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
		return exists(path)
	}
	return nil
}

func exists(path string) error {
	return fmt.Errorf("%s is there already and is left as it is: choose another name", path)
}
