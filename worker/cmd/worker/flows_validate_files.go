package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/flowjson"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/flowjson/jsontree"
)

// document is one flow to validate, by its file; - is the standard input.
type document struct {
	file string
	// certain says that the user means this file as a flow, whatever is in it.
	certain bool
}

// findDocuments lists the flows of a path: of a directory those that loading it
// would take (flow.LoadDir), but of .json files only what looks like a flow.
func findDocuments(path string) ([]document, error) {
	if path == "-" {
		return []document{{path, true}}, nil
	}
	info, err := os.Stat(path)
	if err != nil || !info.IsDir() {
		return []document{{path, true}}, nil // reading it says what is wrong
	}
	if own := filepath.Join(path, "flow.json"); exists(own) {
		return []document{{own, true}}, nil
	}
	entries, err := os.ReadDir(path)
	if err != nil {
		return nil, fmt.Errorf("reading the directory: %w", err)
	}
	var found []document
	for _, entry := range entries {
		name := filepath.Join(path, entry.Name())
		switch info, err := os.Stat(name); { // follows links
		case strings.HasPrefix(entry.Name(), "."):
		case err != nil:
			found = append(found, document{name, true})
		case info.IsDir():
			if file := filepath.Join(name, "flow.json"); exists(file) {
				found = append(found, document{file, true})
			}
		case strings.HasSuffix(entry.Name(), ".json"):
			found = append(found, document{name, false})
		}
	}
	return found, nil
}

func exists(file string) bool {
	_, err := os.Stat(file)
	return err == nil
}

// looksLikeFlow says whether a .json file is meant as a flow: it has a key that
// only a flow has, or it is no JSON at all, which its author should know.
func looksLikeFlow(text []byte) bool {
	root, err := jsontree.Parse(text)
	if err != nil {
		return true
	}
	for _, key := range []string{"screens", "routing_model", "data_api_version"} {
		if root.Get(key) != nil {
			return true
		}
	}
	return false
}

// read reads little more than Meta accepts.
func (d document) read(stdin io.Reader) ([]byte, error) {
	from := stdin
	if d.file != "-" {
		file, err := os.Open(d.file)
		if err != nil {
			return nil, err
		}
		defer file.Close() //nolint:errcheck // only read
		from = file
	}
	text, err := io.ReadAll(io.LimitReader(from, flowjson.MaxSize+1))
	if err == nil && len(text) > flowjson.MaxSize {
		return nil, fmt.Errorf("the file has more than the %d MiB that Meta accepts", flowjson.MaxSize>>20)
	}
	return text, err
}
