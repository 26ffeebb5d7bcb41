package endpoint

import (
	"encoding/base64"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"
)

const (
	maxHeaders     = 20
	maxHeaderValue = 4096
)

// reserved headers are those that a delivery sets itself, that belong to the
// connection, or that would change what the receiver reads. Prefixes end in *.
var reserved = []string{"webhook-*", "content-*", "x-hub-signature*", "proxy-*", "host", "authorization", "connection", "keep-alive",
	"transfer-encoding", "te", "trailer", "upgrade", "expect", "user-agent", "accept-encoding", "traceparent", "tracestate"}

// tokenCharacters of a header's name besides letters and digits (RFC 9110, section 5.6.2).
const tokenCharacters = "!#$%&'*+-.^_`|~"

func checkHeaderName(name string) error {
	plain := name != "" && len(name) <= 100 && !strings.ContainsFunc(name, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && !strings.ContainsRune(tokenCharacters, r)
	})
	if !plain {
		return fmt.Errorf("%.64q is no name of a header, expected letters, digits and dashes", name)
	}
	if slices.ContainsFunc(reserved, func(r string) bool {
		prefix, open := strings.CutSuffix(r, "*")
		return strings.EqualFold(name, r) || open && strings.HasPrefix(strings.ToLower(name), prefix)
	}) {
		return fmt.Errorf("%s is set by the delivery itself, or belongs to the connection", name)
	}
	return nil
}

// checkHeaderValue does not repeat the value: it often is a secret.
func checkHeaderValue(value string) error {
	if len(value) > maxHeaderValue {
		return fmt.Errorf("has %d characters, expected at most %d", len(value), maxHeaderValue)
	}
	if strings.ContainsFunc(value, func(r rune) bool { return r < ' ' && r != '\t' || r > '~' }) {
		return fmt.Errorf("holds a line break, a control character or one outside of ASCII, which no header may have")
	}
	return nil
}

// Bearer is the Authorization header of a token.
func Bearer(token string) (string, error) {
	if token == "" || len(token) > maxHeaderValue || strings.ContainsFunc(token, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return "", fmt.Errorf("the bearer token is empty, longer than %d, or holds a space or a character outside of ASCII", maxHeaderValue)
	}
	return "Bearer " + token, nil
}

// Basic is the Authorization header of a user and a password (RFC 7617).
func Basic(user, password string) (string, error) {
	wrong := func(r rune) bool { return r < ' ' || r == 0x7f }
	switch {
	case user == "" || strings.Contains(user, ":"):
		return "", fmt.Errorf("the user of basic auth is empty or holds a colon, which separates it from the password")
	case len(user)+len(password) > maxHeaderValue/2 || !utf8.ValidString(user+password) || strings.ContainsFunc(user+password, wrong):
		return "", fmt.Errorf("user and password of basic auth are longer than %d together, or hold a control character", maxHeaderValue/2)
	}
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(user+":"+password)), nil
}

// AuthType is basic, bearer or empty: all that is shown of an Authorization
// header.
func AuthType(auth string) string {
	scheme, _, _ := strings.Cut(auth, " ")
	return strings.ToLower(scheme)
}
