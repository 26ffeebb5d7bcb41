package keyring

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

const rotationFile = "rotation.json"

// Rotation is what a directory remembers of a change of keys under way.
type Rotation struct {
	New   string    `json:"new"`   // fingerprint of the key that was made
	Old   []string  `json:"old"`   // fingerprints of the keys before it
	Begun time.Time `json:"begun"` // when the new key was made
	Until time.Time `json:"until"` // the old ones stay at least so long
}

// ReadRotation returns the rotation under way in dir, or nil.
func ReadRotation(dir string) (*Rotation, error) {
	path := filepath.Join(dir, rotationFile)
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	r := new(Rotation)
	if err := json.Unmarshal(text, r); err != nil {
		return nil, fmt.Errorf("%s is not what `keys rotate` wrote (%w): if no rotation is under way, remove it", path, err)
	}
	return r, nil
}

// ErrUnderWay says that a rotation is under way already.
var ErrUnderWay = errors.New("a rotation is under way")

// BeginRotation notes a rotation. The error is ErrUnderWay when there is one
// already: of two that begin at once, one does.
func BeginRotation(dir string, r *Rotation) error {
	text, err := r.text()
	if err != nil {
		return err
	}
	err = WriteNew(NewFile{filepath.Join(dir, rotationFile), text, ModePrivate})
	if errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("%w in %s", ErrUnderWay, dir)
	}
	return err
}

// WriteRotation notes a rotation, in place of the one before.
func WriteRotation(dir string, r *Rotation) error {
	text, err := r.text()
	if err != nil {
		return err
	}
	return replace(filepath.Join(dir, rotationFile), text, ModePrivate)
}

func (r *Rotation) text() ([]byte, error) {
	text, err := json.MarshalIndent(r, "", "  ")
	return append(text, '\n'), err
}

// EndRotation forgets the rotation under way.
func EndRotation(dir string) error {
	err := os.Remove(filepath.Join(dir, rotationFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}
