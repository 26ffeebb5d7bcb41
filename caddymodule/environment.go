package caddymodule

import (
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap/zapcore"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/setting"
)

// secret is a value that never shows in a log, an error or a JSON document.
type secret string

const redacted = "REDACTED"

func (secret) String() string               { return redacted }
func (secret) GoString() string             { return redacted }
func (secret) MarshalJSON() ([]byte, error) { return []byte(`"` + redacted + `"`), nil }

// MarshalLogObject keeps the value out of zap's reflection.
func (secret) MarshalLogObject(enc zapcore.ObjectEncoder) error {
	enc.AddString("secret", redacted)
	return nil
}

// namedPlaceholder is what may be repeated of a value in an error: a
// placeholder with a source, never a literal.
var namedPlaceholder = regexp.MustCompile(`\{(env|file|system|http|time|vault)\.[^{}]*\}`)

// resolvePlaceholders replaces the placeholders of an option's value. An empty
// or unknown one is an error: Caddy itself would go on with an empty secret.
// The error never repeats a literal.
func resolvePlaceholders(value string) (string, error) {
	if value == "" {
		return "", nil
	}
	resolved, err := caddy.NewReplacer().ReplaceOrErr(value, true, true)
	if err != nil {
		if names := namedPlaceholder.FindAllString(value, -1); len(names) > 0 {
			return "", fmt.Errorf("the placeholder %s is empty or cannot be read", strings.Join(names, " or "))
		}
		return "", errors.New(`it holds a placeholder that does not exist: use {env.NAME} or {file.PATH}, and write \{ for a literal brace`)
	}
	if setting.IsPlaceholder(resolved) {
		return "", errors.New("it still holds the placeholder of an example: set it to the real value")
	}
	return resolved, nil
}

// resolveText is resolvePlaceholders for an option that is no secret.
func resolveText(option, value string) (string, error) {
	resolved, err := resolvePlaceholders(value)
	if err != nil {
		return "", fmt.Errorf("%s: %w", option, err)
	}
	return resolved, nil
}

// resolveSecret returns the value of an option, else of the variable.
func resolveSecret(option, value string, env setting.Source, variable string) (string, error) {
	if value == "" {
		found, _, err := env.Lookup(variable)
		return found, err
	}
	resolved, err := resolvePlaceholders(value)
	if err != nil {
		return "", fmt.Errorf("%s: %w", option, err)
	}
	return strings.TrimSpace(resolved), nil
}

// resolveSecrets is resolveSecret for a list, current first. An empty secret
// would let anyone sign, so it is an error wherever it comes from.
func resolveSecrets(option string, values []string, env setting.Source, variable string) ([][]byte, error) {
	var list []string
	if len(values) == 0 {
		value, _, err := env.Lookup(variable)
		if err != nil {
			return nil, err
		}
		for _, secret := range strings.FieldsFunc(value, separatesSecrets) {
			if secret = strings.TrimSpace(secret); secret != "" {
				list = append(list, secret)
			}
		}
	}
	for i, value := range values {
		resolved, err := resolvePlaceholders(value)
		if err == nil && strings.TrimSpace(resolved) == "" {
			err = errors.New("it is empty")
		}
		if err != nil {
			return nil, fmt.Errorf("%s %d: %w", option, i+1, err)
		}
		list = append(list, strings.TrimSpace(resolved))
	}
	secrets := make([][]byte, len(list))
	for i, value := range list {
		secrets[i] = []byte(value)
	}
	return secrets, nil
}

// separatesSecrets is true of a comma and a line end, but not of a space: the
// words of a passphrase must not become secrets that are easy to guess.
func separatesSecrets(r rune) bool { return r == ',' || r == '\n' || r == '\r' }

// missing says that an option and both of its variables are absent.
func missing(option, variable string) error {
	return fmt.Errorf("no %s, and neither %s nor %s_FILE is set: set one of them", option, variable, variable)
}

// quoteNames lists the names of a map for an error message.
func quoteNames[V any](m map[string]V) string {
	return strings.Join(slices.Sorted(maps.Keys(m)), ", ")
}
