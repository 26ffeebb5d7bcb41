package meta

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/graph"
)

// Site is one environment: a WhatsApp Business Account and the lock file of what
// is there.
type Site struct {
	Graph   *graph.Client
	Account string
	Lock    *Lock
	// DryRun keeps everything as it is, at Meta and on the disk; what would be
	// done is returned.
	DryRun bool
}

// Local is a flow of the folder.
type Local struct {
	Name string
	File string
	JSON []byte
}

// Result is what was done with a flow, or would be.
type Result struct {
	Flow  string   `json:"flow"`
	ID    string   `json:"id,omitempty"` // at Meta
	Done  []string `json:"done"`
	Notes []string `json:"notes,omitempty"`
	Error string   `json:"error,omitempty"` // set by who prints it
}

func (r *Result) do(format string, args ...any) {
	r.Done = append(r.Done, fmt.Sprintf(format, args...))
}

func (r *Result) note(format string, args ...any) {
	r.Notes = append(r.Notes, fmt.Sprintf(format, args...))
}

// save writes the lock file, but not of a dry run.
func (s *Site) save() error {
	if s.DryRun {
		return nil
	}
	return s.Lock.Save()
}

// remote is a flow at Meta with its Flow JSON.
type remote struct {
	*graph.Flow
	json []byte // nil: none yet
	hash string // empty: none yet
}

// read reads a flow that the lock names.
func (s *Site) read(ctx context.Context, name, id string) (*remote, error) {
	f, err := s.Graph.Flow(ctx, id)
	if graph.NotFound(err) {
		return nil, fmt.Errorf("the lock file has %s as the flow %s, which Meta does not have: if it was deleted there, delete it from %s too: %w", name, id, s.Lock.file, err)
	}
	if err != nil {
		return nil, err
	}
	if f.Account != nil && f.Account.ID != s.Account {
		return nil, fmt.Errorf("the flow %s, %s in the lock file, is of the WhatsApp Business Account %s, expected %s", id, name, f.Account.ID, s.Account)
	}
	r := &remote{Flow: f}
	r.json, err = s.Graph.DownloadJSON(ctx, id)
	if errors.Is(err, graph.ErrNoJSON) {
		return r, nil
	}
	if err != nil {
		return nil, err
	}
	r.hash = Hash(r.json)
	return r, nil
}

// Head is what of a Flow JSON says how it is run.
type Head struct {
	Version string `json:"version"`
	DataAPI string `json:"data_api_version"`
}

// ReadHead reads it of a document that may be wrong otherwise.
func ReadHead(flowJSON []byte) Head {
	var h Head
	_ = json.Unmarshal(flowJSON, &h) // what is wrong has been said by the validator
	return h
}

// AsksEndpoint says whether phones ask an endpoint, which is what
// data_api_version means.
func (h Head) AsksEndpoint() bool { return h.DataAPI != "" }

// hasEndpointURI says whether Meta takes the endpoint as metadata: from Flow
// JSON 3.0 on. Before, it stands in the document.
func (h Head) hasEndpointURI() bool {
	major, _, _ := strings.Cut(h.Version, ".")
	n, err := strconv.Atoi(major)
	return h.AsksEndpoint() && err == nil && n >= 3
}

// Pick are those of all that names name, in the order of names; all of them, if
// it names none.
func Pick(all []Local, names []string) ([]Local, error) {
	if len(names) == 0 {
		return all, nil
	}
	var picked []Local
	var missing []error
	for _, name := range names {
		i := slices.IndexFunc(all, func(l Local) bool { return l.Name == name })
		if i < 0 {
			missing = append(missing, fmt.Errorf("the folder has no flow %s", name))
			continue
		}
		picked = append(picked, all[i])
	}
	return picked, errors.Join(missing...)
}

func short(hash string) string {
	if hash == "" {
		return "none"
	}
	return hash[:12]
}
