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
	Begun time.Time `json:"begun"` // when the edges had the new key
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
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return r, nil
}

// WriteRotation notes a rotation, in place of the one before.
func WriteRotation(dir string, r *Rotation) error {
	text, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	path := filepath.Join(dir, rotationFile)
	temporary := path + ".new"
	if err := os.WriteFile(temporary, append(text, '\n'), ModePrivate); err != nil {
		return err
	}
	return os.Rename(temporary, path)
}

// EndRotation forgets the rotation under way.
func EndRotation(dir string) error {
	err := os.Remove(filepath.Join(dir, rotationFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}
