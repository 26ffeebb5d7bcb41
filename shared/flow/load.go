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
// folder stands in logic.yaml, logic.yml or logic.json beside flow.json. Names that begin
// with a dot, and folders without a flow.json, are passed over. The error names
// the file. A directory without flows gives an empty map.
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
			return nil, err
		case from[name] != "":
			return nil, fmt.Errorf("%s: the flow %s is already defined by %s: keep one of them", file, name, from[name])
		}
		flows[name], from[name] = def, file
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
		for _, name := range []string{"logic.yaml", "logic.yml", "logic.json"} {
			logicFile := path.Join(path.Dir(file), name)
			text, err := fs.ReadFile(fsys, logicFile)
			switch {
			case errors.Is(err, fs.ErrNotExist):
			case err != nil:
				return nil, fmt.Errorf("%s: %w", logicFile, err)
			case from != "":
				return nil, fmt.Errorf("%s: the logic of this flow is already given by %s: keep one of them", logicFile, from)
			default:
				rules, from = text, logicFile
			}
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
