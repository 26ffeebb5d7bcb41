// Package meta keeps a folder of flows and a WhatsApp Business Account at Meta
// alike: what it pulls, pushes, publishes and deprecates is written into a lock
// file per environment, which belongs into version control with the flows.
//
// Everything here works on values of package graph and on files of one folder;
// nothing is printed.
package meta

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
)

// lockVersion is the version of the lock file's form.
const lockVersion = 1

// Lock says which flow at Meta each flow of a folder is, and what was pushed
// there last. It holds no secret.
type Lock struct {
	Version int    `json:"version"`
	Account string `json:"waba_id"`
	// Endpoint is where Meta sends the requests of flows; {flow} stands for the
	// flow's name.
	Endpoint string            `json:"endpoint,omitempty"`
	Flows    map[string]*Entry `json:"flows"`
	// Begun are flows whose creation was begun and has no end yet: our name, and
	// the one at Meta.
	Begun map[string]string `json:"begun,omitempty"`

	file string
}

// Entry is a flow at Meta.
type Entry struct {
	ID   string `json:"id"`
	Name string `json:"name"` // at Meta
	// JSON is the hash (see Hash) of the Flow JSON that was at Meta after the
	// last push or pull; empty: none was.
	JSON string `json:"json_sha256,omitempty"`
	// Published is the hash of the Flow JSON that was published last.
	Published string `json:"published_sha256,omitempty"`
	// Former are flows that this one took the place of, because they could not
	// be changed any more; the latest first.
	Former []string `json:"former_ids,omitempty"`
}

var environmentForm = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$`)

// LockFile is the lock file of an environment in a folder of flows. Its name
// does not end in .json, so that nobody takes it for a flow.
func LockFile(dir, environment string) string {
	return filepath.Join(dir, "meta."+environment+".lock")
}

// OpenLock reads the lock file of an environment, or begins an empty one for the
// WhatsApp Business Account. One of another account is refused.
func OpenLock(dir, environment, account string) (*Lock, error) {
	if !environmentForm.MatchString(environment) {
		return nil, fmt.Errorf("the environment is %q, expected letters, digits, dashes and underscores", environment)
	}
	l := &Lock{Version: lockVersion, Account: account, Flows: map[string]*Entry{}, Begun: map[string]string{}, file: LockFile(dir, environment)}
	text, err := os.ReadFile(l.file)
	if errors.Is(err, fs.ErrNotExist) {
		return l, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading the lock file: %w", err)
	}
	var read Lock
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&read); err != nil {
		return nil, fmt.Errorf("%s is no lock file: %w: take it from version control again", l.file, err)
	}
	switch {
	case read.Version != lockVersion:
		return nil, fmt.Errorf("%s is of version %d, expected %d: use a newer worker", l.file, read.Version, lockVersion)
	case read.Account != account:
		return nil, fmt.Errorf("%s is of the WhatsApp Business Account %s, but the account is %s: name another environment with --env, or correct META_WABA_ID", l.file, read.Account, account)
	}
	for name, entry := range read.Flows {
		if entry == nil || entry.ID == "" {
			return nil, fmt.Errorf("%s: the flow %s has no id: take it from version control again", l.file, name)
		}
		l.Flows[name] = entry
	}
	l.Endpoint = read.Endpoint
	maps.Copy(l.Begun, read.Begun)
	return l, nil
}

// Save writes the lock file in one step, so that it is never half written.
func (l *Lock) Save() error {
	var text bytes.Buffer
	encoder := json.NewEncoder(&text)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	if err := encoder.Encode(l); err != nil {
		return fmt.Errorf("writing the lock file: %w", err)
	}
	if have, err := os.ReadFile(l.file); err == nil && bytes.Equal(have, text.Bytes()) {
		return nil
	}
	if err := writeFile(l.file, text.Bytes()); err != nil {
		return fmt.Errorf("writing the lock file: %w", err)
	}
	return nil
}

// nameOf is our name of a flow at Meta; empty if the lock does not have it.
func (l *Lock) nameOf(id string) string {
	for name, entry := range l.Flows {
		if entry.ID == id {
			return name
		}
	}
	return ""
}

// former says whether id is of a flow that another took the place of.
func (l *Lock) former(id string) bool {
	for _, entry := range l.Flows {
		if slices.Contains(entry.Former, id) {
			return true
		}
	}
	return false
}

// writeFile replaces a file in one step.
func writeFile(file string, text []byte) error {
	temporary, err := os.CreateTemp(filepath.Dir(file), "."+filepath.Base(file)+"-*")
	if err != nil {
		return err
	}
	defer os.Remove(temporary.Name()) //nolint:errcheck // it was renamed, or an error is told
	_, err = temporary.Write(text)
	err = errors.Join(err, temporary.Chmod(0o644), temporary.Sync(), temporary.Close())
	if err != nil {
		return err
	}
	return os.Rename(temporary.Name(), file)
}

// Hash is the SHA-256 of a Flow JSON in one spelling: without white space, keys
// sorted. Meta's Flow Builder may write the same document differently. Text that
// is no JSON is hashed as it is.
func Hash(flowJSON []byte) string {
	decoder := json.NewDecoder(bytes.NewReader(bytes.TrimPrefix(flowJSON, []byte("\xef\xbb\xbf"))))
	decoder.UseNumber()
	var value any
	if err := decoder.Decode(&value); err == nil && !decoder.More() {
		if text, err := json.Marshal(value); err == nil {
			flowJSON = text
		}
	}
	sum := sha256.Sum256(flowJSON)
	return hex.EncodeToString(sum[:])
}
