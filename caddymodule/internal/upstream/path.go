package upstream

import (
	"errors"
	"net/url"
	"strings"
)

const maxPath = 8 << 10

// checkPath refuses a path that is no path, or that could leave the upstream's
// base path: a flow puts into it what a user typed. It is strict rather than
// clever, because the upstream may read a path in its own way: some decode it
// twice, some take a backslash for a slash, some cut a segment at a semicolon.
// Its errors follow on "the path".
func checkPath(path string) error {
	switch {
	case !strings.HasPrefix(path, "/"):
		return errors.New(`does not begin with "/"`)
	case len(path) > maxPath:
		return errors.New("is over 8 KiB")
	}
	for i := range len(path) {
		if c := path[i]; c <= ' ' || c >= 0x7f || strings.IndexByte("\"#<>\\^`{|}", c) >= 0 {
			return errors.New("holds a character that must be encoded: put urlEncode(…) around what it is made of")
		}
	}
	path, query, _ := strings.Cut(path, "?")
	if _, err := url.QueryUnescape(query); err != nil {
		return errors.New("has a % in its query that is no %xx: put urlEncode(…) around what it is made of")
	}
	segments := strings.Split(path[1:], "/")
	for i, segment := range segments {
		if segment == "" && i < len(segments)-1 {
			return errors.New("has an empty segment (//): is a value missing?")
		}
		if err := checkSegment(segment); err != nil {
			return err
		}
	}
	return nil
}

// checkSegment looks at a segment as it is and decoded, once and more often.
func checkSegment(segment string) error {
	for first := true; ; first = false {
		if name, _, _ := strings.Cut(segment, ";"); name == "." || name == ".." {
			return errors.New("holds a segment . or .., which could leave the base path")
		}
		for i := range len(segment) {
			if c := segment[i]; c == '/' || c == '\\' || c < ' ' || c == 0x7f {
				return errors.New("holds an encoded slash, backslash or control character, which could leave the base path")
			}
		}
		decoded, err := url.PathUnescape(segment)
		switch {
		case err != nil && first:
			return errors.New("has a % that is no %xx: put urlEncode(…) around what it is made of")
		case err != nil, decoded == segment:
			return nil
		}
		segment = decoded
	}
}
