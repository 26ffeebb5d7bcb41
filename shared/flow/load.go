package flow

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/flow/logic"
)

// LoadDir loads every flow of a directory: a folder with a flow.json is a flow
// of the folder's name, another file NAME.json is the flow NAME. The logic of a
// folder is what ReadLogic finds in it. Names that begin with a dot, and folders
// without a flow.json, are passed over. The error names every file that is no
// flow. A directory without flows gives an empty map.
func LoadDir(fsys fs.FS) (map[string]*Definition, error) {
	entries, err := fs.ReadDir(fsys, ".")
	if err != nil {
		return nil, fmt.Errorf("reading the directory of flows: %w", err)
	}
	if _, err := fs.Stat(fsys, "flow.json"); err == nil {
		return nil, errors.New("this folder holds flow.json itself, expected a folder of flows: give its parent")
	}
	flows := map[string]*Definition{}
	from := map[string]string{}
	var bad []error
	for _, entry := range entries {
		if strings.HasPrefix(entry.Name(), ".") {
			continue
		}
		name, file := entry.Name(), path.Join(entry.Name(), "flow.json")
		info, err := fs.Stat(fsys, entry.Name()) // follows links, as ConfigMaps are made of them
		if err != nil {
			return nil, fmt.Errorf("reading the directory of flows: %w", err)
		}
		if !info.IsDir() {
			var isFlow bool
			if name, isFlow = strings.CutSuffix(entry.Name(), ".json"); !isFlow {
				continue
			}
			file = entry.Name()
		}
		def, err := loadFile(fsys, file, info.IsDir())
		switch {
		case errors.Is(err, fs.ErrNotExist) && info.IsDir():
			continue
		case err != nil:
			bad = append(bad, err)
		case from[name] != "":
			bad = append(bad, fmt.Errorf("%s: the flow %s is already defined by %s: keep one of them", file, name, from[name]))
		}
		flows[name], from[name] = def, file
	}
	if len(bad) > 0 {
		return nil, errors.Join(bad...)
	}
	return flows, nil
}

func loadFile(fsys fs.FS, file string, folder bool) (*Definition, error) {
	flowJSON, err := fs.ReadFile(fsys, file)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	var rules []byte
	var from string
	if folder {
		if rules, from, err = ReadLogic(fsys, path.Dir(file)); err != nil {
			return nil, fmt.Errorf("%s: %w", from, err)
		}
	}
	def, err := Load(flowJSON, rules)
	var mistakes *logic.Errors
	if errors.As(err, &mistakes) {
		mistakes.File = from
		return nil, mistakes
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return def, nil
}

// ReadLogic reads the logic of the flow in a folder, which stands in logic.yaml,
// logic.yml or logic.json beside its flow.json, and says in which. Both are
// empty if there is none. With an error, a second file of logic for one, file is
// the one it is about.
func ReadLogic(fsys fs.FS, folder string) (rules []byte, file string, err error) {
	for _, name := range []string{"logic.yaml", "logic.yml", "logic.json"} {
		candidate := path.Join(folder, name)
		text, err := fs.ReadFile(fsys, candidate)
		switch {
		case errors.Is(err, fs.ErrNotExist):
		case err != nil:
			return nil, candidate, err
		case file != "":
			return nil, candidate, fmt.Errorf("the logic of this flow is already given by %s: keep one of them", file)
		default:
			rules, file = text, candidate
		}
	}
	return rules, file, nil
}
