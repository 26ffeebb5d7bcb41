// Package setting reads the environment variables of the edge and the worker:
// each as NAME or as NAME_FILE, the path of a file that holds the value.
package setting

import (
	"fmt"
	"regexp"
	"strings"
)

// Source looks variables up. Both functions are passed in so that this package
// depends on neither the process environment nor the disk.
type Source struct {
	LookupEnv func(string) (string, bool)
	ReadFile  func(string) ([]byte, error)
}

// Lookup returns the value of name, or of the file that name_FILE names, and
// where it came from ("META_APP_SECRET", "META_APP_SECRET_FILE"). An empty
// variable counts as unset. A value that is still the placeholder of an example
// file is an error, as are name and name_FILE both set. Surrounding white space
// of a file is cut. Errors never hold the value.
func (s Source) Lookup(name string) (value, from string, err error) {
	direct, _ := s.LookupEnv(name)
	path, _ := s.LookupEnv(name + "_FILE")
	switch {
	case direct != "" && path != "":
		return "", "", fmt.Errorf("both %s and %s_FILE are set: set one of them", name, name)
	case direct != "":
		value, from = direct, name
	case path != "":
		raw, err := s.ReadFile(path)
		if err != nil {
			return "", "", fmt.Errorf("%s_FILE: %w", name, err)
		}
		value, from = strings.TrimSpace(string(raw)), name+"_FILE"
		if value == "" {
			return "", "", fmt.Errorf("%s_FILE: %s is empty", name, path)
		}
	default:
		return "", "", nil
	}
	if IsPlaceholder(value) {
		return "", "", fmt.Errorf("%s still holds the placeholder of an example: set it to the real value", from)
	}
	return value, from, nil
}

// Require is Lookup for a variable that must be set.
func (s Source) Require(name string) (string, error) {
	value, _, err := s.Lookup(name)
	if err == nil && value == "" {
		err = fmt.Errorf("neither %s nor %s_FILE is set: set one of them", name, name)
	}
	return value, err
}

// List splits a value that may hold several, current first, separated by
// commas or white space.
func List(value string) []string {
	return strings.FieldsFunc(value, func(r rune) bool {
		return r == ',' || r == ' ' || r == '\t' || r == '\r' || r == '\n'
	})
}

var placeholder = regexp.MustCompile(`(?i)^\s*(<[^>]*>|your[_-].*|change[_-]?me.*|replace[_-]?(me|this|with).*|.*[_-]here|x{4,}|todo|placeholder)\s*$`)

// IsPlaceholder says whether value is an example's placeholder, such as
// "your_app_secret_here", "changeme" or "<token>".
func IsPlaceholder(value string) bool { return placeholder.MatchString(value) }
