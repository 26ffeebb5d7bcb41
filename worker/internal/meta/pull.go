package meta

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/graph"
)

// Pull takes what Meta has into the folder: the flows that names names, or all
// that are not deprecated. A flow that the lock does not know gets a folder of
// its name. Files that were changed here since the last push or pull are kept
// unless overwrite is set. Results come with the error too.
func (s *Site) Pull(ctx context.Context, dir string, locals []Local, names []string, overwrite bool) ([]Result, error) {
	all, err := s.Graph.Flows(ctx, s.Account)
	if err != nil {
		return nil, err
	}
	wanted, err := s.wanted(all, names)
	if err != nil {
		return nil, err
	}
	results := []Result{}
	var failed []error
	for _, w := range wanted {
		r := Result{Flow: w.name, ID: w.flow.ID, Done: []string{}}
		if err := s.pull(ctx, dir, locals, w, overwrite, &r); err != nil {
			failed = append(failed, fmt.Errorf("%s: %w", w.name, err))
		}
		results = append(results, r)
		if ctx.Err() != nil {
			break
		}
	}
	return results, errors.Join(failed...)
}

type pullOne struct {
	name string // ours
	flow graph.Flow
}

// wanted are the flows to pull, by our names.
func (s *Site) wanted(all []graph.Flow, names []string) ([]pullOne, error) {
	var list []pullOne
	byName := map[string]string{}
	for _, f := range all {
		name, known := s.Lock.nameOf(f.ID), true
		if name == "" {
			name, known = folderName(f.Name), false
		}
		if name == "" { // it is in another alphabet
			name = "flow-" + f.ID
		}
		switch {
		case len(names) > 0 && !slices.Contains(names, name):
			continue
		case len(names) == 0 && !known && (f.Status == graph.Deprecated || s.Lock.former(f.ID)):
			continue
		case !known && s.Lock.Flows[name] != nil:
			continue // a flow of the same name is another one in the lock: this one is older
		case byName[name] != "":
			return nil, fmt.Errorf("the flows %s and %s would both be in the folder %s: rename one at Meta", byName[name], f.ID, name)
		}
		byName[name] = f.ID
		list = append(list, pullOne{name, f})
	}
	for _, name := range names {
		if byName[name] == "" {
			return nil, fmt.Errorf("there is no flow %s at Meta, which has %s", name, namesOf(all))
		}
	}
	return list, nil
}

func namesOf(all []graph.Flow) string {
	const most = 20
	var names []string
	for _, f := range all[:min(len(all), most)] {
		names = append(names, folderName(f.Name))
	}
	if len(all) > most {
		names = append(names, "…")
	}
	if len(names) == 0 {
		return "none"
	}
	return strings.Join(names, ", ")
}

// folderName makes of a name at Meta one that fits a folder and the path of an
// endpoint.
func folderName(name string) string {
	var b strings.Builder
	for _, r := range name {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', r == '_', r == '.' && b.Len() > 0:
			b.WriteRune(r)
		case b.Len() > 0 && !strings.HasSuffix(b.String(), "-"):
			b.WriteByte('-')
		}
		if b.Len() >= 100 {
			break
		}
	}
	return strings.Trim(b.String(), "-_.")
}

func (s *Site) pull(ctx context.Context, dir string, locals []Local, w pullOne, overwrite bool, r *Result) error {
	text, err := s.Graph.DownloadJSON(ctx, w.flow.ID)
	if errors.Is(err, graph.ErrNoJSON) {
		r.note("it has no Flow JSON at Meta yet")
		return nil
	}
	if err != nil {
		return err
	}
	hash := Hash(text)
	entry := s.Lock.Flows[w.name]
	file, own := filepath.Join(dir, w.name, "flow.json"), ""
	if i := slices.IndexFunc(locals, func(l Local) bool { return l.Name == w.name }); i >= 0 {
		file, own = locals[i].File, Hash(locals[i].JSON)
	}
	if own != "" && own != hash && !overwrite && (entry == nil || entry.JSON != own) {
		return fmt.Errorf("%s was changed here since the last push or pull: look at it with diff, push it, or pull over it with --overwrite", file)
	}
	if own != hash {
		r.do("write %s (%s)", file, short(hash))
	}
	if entry == nil {
		r.do("add it to the lock file")
		entry = &Entry{ID: w.flow.ID}
	}
	if s.DryRun {
		return nil
	}
	if own != hash {
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			return err
		}
		if err := writeFile(file, text); err != nil {
			return err
		}
	}
	entry.Name, entry.JSON = w.flow.Name, hash
	if w.flow.Live() {
		entry.Published = hash
	}
	return s.keep(w.name, entry)
}
