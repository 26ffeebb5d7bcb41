package upstream

import (
	"net/url"
	"path"
	"strings"
	"testing"
	"time"
)

func TestPathsOfFetches(t *testing.T) {
	for given, want := range map[string]string{ // path → part of the error; empty: accepted
		"/slots":                             "",
		"/":                                  "",
		"/slots/":                            "",
		"/slots?day=2026-11-23&shop=north":   "",
		"/slots?q=a%2Fb..%2F&x=/../":         "", // a query leaves nothing
		"/orders/M%C3%BCller%20%26%20Co":     "",
		"/orders/a:b@c,d;e=1!$&'()*+~":       "",
		"/orders/...":                        "",
		"/orders/.well-known":                "",
		"":                                   `does not begin with "/"`,
		"slots":                              `does not begin with "/"`,
		"?day=1":                             `does not begin with "/"`,
		"@evil.example/":                     `does not begin with "/"`,
		"https://evil.example/":              `does not begin with "/"`,
		"//evil.example/":                    "empty segment",
		"/orders//lines":                     "empty segment",
		"/../admin":                          "segment . or ..",
		"/..":                                "segment . or ..",
		"/./x":                               "segment . or ..",
		"/orders/../../admin":                "segment . or ..",
		"/%2e%2e/admin":                      "segment . or ..",
		"/.%2E/admin":                        "segment . or ..",
		"/%252e%252e/admin":                  "segment . or ..",
		"/..;x=1/admin":                      "segment . or ..",
		"/..%3Bx/admin":                      "segment . or ..",
		"/a%2f..%2fadmin":                    "encoded slash",
		"/a%5cadmin":                         "encoded slash",
		"/a%252Fadmin":                       "encoded slash",
		"/a%00b":                             "encoded slash",
		"/a%0d%0aHost:x":                     "encoded slash",
		"/a\\..\\admin":                      "must be encoded",
		"/orders/Ada Lovelace":               "must be encoded",
		"/orders/Müller":                     "must be encoded",
		"/orders/1\r\nHost: evil":            "must be encoded",
		"/orders/1#top":                      "must be encoded",
		"/orders?name=Ada Lovelace":          "must be encoded",
		"/orders/100%":                       "a % that is no %xx",
		"/orders?share=100%":                 "a % in its query",
		"/" + strings.Repeat("x", maxPath-1): "",
		"/" + strings.Repeat("x", maxPath):   "over 8 KiB",
	} {
		err := checkPath(given)
		switch {
		case want == "" && err != nil:
			t.Errorf("%.60q: %v", given, err)
		case want != "" && (err == nil || !strings.Contains(err.Error(), want)):
			t.Errorf("%.60q: error %v, expected %q", given, err, want)
		}
	}
}

// FuzzPath: whatever is accepted stays on the host and below the base path, for
// an upstream that decodes it once and for one that decodes it twice.
func FuzzPath(f *testing.F) {
	for _, seed := range []string{"/slots?day=1", "/a%2f..%2fb", "/%252e%252e/x", "//evil/", "/a;b/..;/c", "/%2e%2e%2f", "/a?%2e#"} {
		f.Add(seed)
	}
	u, err := New("api", "http://inside.example:9000/base", nil, time.Second, 1)
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, given string) {
		if checkPath(given) != nil {
			return
		}
		parsed, err := url.Parse(u.base + given)
		if err != nil {
			t.Fatalf("accepted, but no URL: %v", err)
		}
		if parsed.Scheme != "http" || parsed.Host != "inside.example:9000" || parsed.User != nil || parsed.Fragment != "" {
			t.Fatalf("it leads to %s", parsed)
		}
		for decoded, rounds := parsed.Path, 0; rounds < 3; rounds++ {
			if clean := path.Clean(strings.ReplaceAll(decoded, "\\", "/")); clean != "/base" && !strings.HasPrefix(clean, "/base/") {
				t.Fatalf("%q leads to %q", given, clean)
			}
			again, err := url.PathUnescape(decoded)
			if err != nil {
				break
			}
			decoded = again
		}
	})
}
