package doctor

import (
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
)

// Modes looks at who may read and change files that hold secrets. stat is
// os.Stat. A directory that only its owner may enter protects what is in it.
func Modes(name string, paths []string, stat func(string) (fs.FileInfo, error)) Finding {
	slices.Sort(paths)
	paths = slices.Compact(paths)
	if len(paths) == 0 {
		return Skip(name, "no secret comes from a file")
	}
	var wrong, seen []string
	for _, path := range paths {
		info, err := stat(path)
		if err != nil {
			return Failed(name, path+" cannot be looked at: "+err.Error(), "what needs it does not start", "put the file there, readable by the user that runs this")
		}
		mode := info.Mode().Perm()
		seen = append(seen, fmt.Sprintf("%s %04o", path, mode))
		reachable := entered(path, stat)
		switch {
		case mode&0o002 != 0 && reachable:
			wrong = append(wrong, fmt.Sprintf("%s (%04o) can be changed by everyone", path, mode))
		case mode&0o004 != 0 && reachable:
			wrong = append(wrong, fmt.Sprintf("%s (%04o) can be read by everyone", path, mode))
		}
	}
	if len(wrong) > 0 {
		return Failed(name, strings.Join(wrong, "; "), "every user and program of this machine has the secret", "chmod 600 (and chown to the user that runs it), or put it into a directory of mode 0700")
	}
	return Fine(name, "%s", strings.Join(seen, ", "))
}

// mounted is where containers get their secrets: what is in it is readable, and
// there are no other users.
const mounted = "/run/secrets/"

// entered says whether everyone may come as far as a file.
func entered(path string, stat func(string) (fs.FileInfo, error)) bool {
	absolute, err := filepath.Abs(path)
	if err != nil {
		return true
	}
	if strings.HasPrefix(absolute, mounted) {
		return false
	}
	for dir := filepath.Dir(absolute); ; dir = filepath.Dir(dir) {
		info, err := stat(dir)
		if err == nil && info.Mode().Perm()&0o001 == 0 {
			return false
		}
		if dir == filepath.Dir(dir) {
			return true
		}
	}
}
