package validate

import (
	"fmt"
	"strconv"
	"strings"
)

// Version is a version of Flow JSON. Versions compare component by component:
// 1.10 is newer than 1.9.
type Version struct{ Major, Minor int }

// AtLeast says whether v is other or newer.
func (v Version) AtLeast(major, minor int) bool {
	return v.Major > major || v.Major == major && v.Minor >= minor
}

// Below says whether v is older.
func (v Version) Below(major, minor int) bool { return !v.AtLeast(major, minor) }

func (v Version) String() string { return fmt.Sprintf("%d.%d", v.Major, v.Minor) }

// parseVersion reads 7.3, and nothing that only looks like it: 07.3, 7, 7.3.0.
func parseVersion(s string) (v Version, err error) {
	major, minor, _ := strings.Cut(s, ".")
	v.Major, err = strconv.Atoi(major)
	if err == nil {
		v.Minor, err = strconv.Atoi(minor)
	}
	if err != nil || v.Major < 0 || v.Minor < 0 || v.String() != s {
		return Version{}, fmt.Errorf("%q is no version, expected two numbers with a dot between them", clip(s))
	}
	return v, nil
}

// release is a published version of Flow JSON.
type release struct {
	Version
	frozen string // day since when it cannot be published; empty if it can
}

// releases are all of them (Meta: "Versioning", as of 15 March 2026, and
// "Changelog"). Of 5.0 the pages give two days, the earlier one stands here.
var releases = []release{
	{Version{2, 1}, "8 April 2025"},
	{Version{3, 0}, "8 April 2025"},
	{Version{3, 1}, "8 April 2025"},
	{Version{4, 0}, "8 April 2025"},
	{Version{5, 0}, "9 September 2025"},
	{Version{5, 1}, ""},
	{Version{6, 0}, ""},
	{Version{6, 1}, ""},
	{Version{6, 2}, ""},
	{Version{6, 3}, ""},
	{Version{7, 0}, ""},
	{Version{7, 1}, ""},
	{Version{7, 2}, ""},
	{Version{7, 3}, ""},
}

// newest is the version whose rules hold for a document that names none, or one
// that is not known.
var newest = releases[len(releases)-1].Version

// findRelease returns the release of a version, or nil.
func findRelease(v Version) *release {
	for i := range releases {
		if releases[i].Version == v {
			return &releases[i]
		}
	}
	return nil
}

// Frozen says since when a version of Flow JSON cannot be published any more, as
// a day in words; empty for one that can. Messages with a frozen one still open.
// known is false for a version that Meta had not published when this was written.
func Frozen(version string) (since string, known bool) {
	v, err := parseVersion(version)
	if err != nil {
		return "", false
	}
	r := findRelease(v)
	if r == nil {
		return "", false
	}
	return r.frozen, true
}

// Newest is the newest version of Flow JSON that is known here.
func Newest() Version { return newest }
