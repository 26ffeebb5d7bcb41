package setting

import (
	"errors"
	"slices"
	"strings"
	"testing"
)

func source(env, files map[string]string) Source {
	return Source{
		LookupEnv: func(name string) (string, bool) { v, ok := env[name]; return v, ok },
		ReadFile: func(path string) ([]byte, error) {
			if v, ok := files[path]; ok {
				return []byte(v), nil
			}
			return nil, errors.New("open " + path + ": no such file")
		},
	}
}

func TestLookup(t *testing.T) {
	files := map[string]string{"/s": "from file\n", "/empty": "\n", "/example": "changeme\n"}
	for name, c := range map[string]struct {
		env              map[string]string
		value, from, err string
	}{
		"set directly":            {env: map[string]string{"X": "v"}, value: "v", from: "X"},
		"set by file":             {env: map[string]string{"X_FILE": "/s"}, value: "from file", from: "X_FILE"},
		"unset":                   {},
		"empty counts as unset":   {env: map[string]string{"X": ""}},
		"both set":                {env: map[string]string{"X": "v", "X_FILE": "/s"}, err: "both X and X_FILE are set"},
		"file is missing":         {env: map[string]string{"X_FILE": "/none"}, err: "X_FILE: open /none"},
		"file is empty":           {env: map[string]string{"X_FILE": "/empty"}, err: "/empty is empty"},
		"placeholder of example":  {env: map[string]string{"X": "your_app_secret_here"}, err: "X still holds the placeholder"},
		"placeholder in the file": {env: map[string]string{"X_FILE": "/example"}, err: "X_FILE still holds the placeholder"},
	} {
		t.Run(name, func(t *testing.T) {
			value, from, err := source(c.env, files).Lookup("X")
			if c.err != "" {
				if err == nil || !strings.Contains(err.Error(), c.err) {
					t.Fatalf("error is %v, expected %q", err, c.err)
				}
				return
			}
			if err != nil || value != c.value || from != c.from {
				t.Fatalf("got %q from %q, %v; expected %q from %q", value, from, err, c.value, c.from)
			}
		})
	}
}

func TestRequireNamesBothWays(t *testing.T) {
	_, err := source(nil, nil).Require("META_APP_SECRET")
	if err == nil || !strings.Contains(err.Error(), "META_APP_SECRET nor META_APP_SECRET_FILE") {
		t.Fatalf("error is %v, expected both names", err)
	}
}

func TestPlaceholders(t *testing.T) {
	for _, v := range []string{"your_app_secret_here", "YOUR-TOKEN", "changeme", "change_me_please", "<token>", "xxxx", "replace_me", "set_this_here", "TODO"} {
		if !IsPlaceholder(v) {
			t.Errorf("%q passes for a real value", v)
		}
	}
	for _, v := range []string{"", "0123456789abcdef0123456789abcdef", "csat", "redis://localhost:6379", "https://example.com/here", "-----BEGIN PRIVATE KEY-----"} {
		if IsPlaceholder(v) {
			t.Errorf("%q passes for a placeholder", v)
		}
	}
}

func TestListKeepsOrder(t *testing.T) {
	if got := List(" new, old\n older "); !slices.Equal(got, []string{"new", "old", "older"}) {
		t.Errorf("got %q", got)
	}
}
