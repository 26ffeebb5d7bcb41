package graphtest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"net/url"
	"slices"
	"strings"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/flowjson"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/flowjson/validate"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/graph"
)

// Flow is a flow as the server has it.
type Flow struct {
	ID            string
	Name          string
	Status        string // of graph's constants
	Categories    []string
	JSON          []byte
	EndpointURI   string
	ApplicationID string
	Health        graph.Health
	Errors        []validate.Problem // of JSON

	// Old flows, published before November 2024, cannot be changed: 139001.
	Old bool
	// Deaf says that the endpoint does not answer the health check.
	Deaf bool
	// Versions are the Flow JSONs it was published with, the oldest first.
	Versions [][]byte
}

type flow struct {
	Flow
	account *account
}

// AddFlow adds a flow to an account and returns its id, one of its own if f has
// none. What f leaves out of status, category and health is as of a new draft.
func (s *Server) AddFlow(accountID string, f Flow) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if f.ID == "" {
		f.ID = s.id()
	}
	if f.Status == "" {
		f.Status = graph.Draft
	}
	if f.Categories == nil {
		f.Categories = []string{"OTHER"}
	}
	if f.Health.CanSend == "" {
		f.Health = healthy("FLOW", f.ID)
	}
	if f.JSON != nil && f.Errors == nil {
		f.Errors = s.check(f.JSON)
	}
	if f.Status != graph.Draft && f.Versions == nil {
		f.Versions = [][]byte{f.JSON}
	}
	a := s.accounts[accountID]
	added := &flow{Flow: f, account: a}
	a.flows = append(a.flows, added)
	s.flows[f.ID] = added
	return f.ID
}

// Flow is a copy of a flow.
func (s *Server) Flow(id string) Flow {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.flows[id].Flow
}

// FlowNamed is a copy of the flow of that name; its ID is empty if there is none.
func (s *Server) FlowNamed(name string) Flow {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, f := range s.flows {
		if f.Name == name {
			return f.Flow
		}
	}
	return Flow{}
}

// Change changes a flow from outside, as somebody at the Flow Builder does.
func (s *Server) Change(id string, change func(*Flow)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change(&s.flows[id].Flow)
}

func (s *Server) check(flowJSON []byte) []validate.Problem {
	if s.Check != nil {
		return s.Check(flowJSON)
	}
	return validate.Flow(flowJSON).Errors
}

// versions reads what Meta says of a Flow JSON's versions.
func (f *Flow) versions() (flowJSON, dataAPI string) {
	var d struct {
		Version string `json:"version"`
		DataAPI string `json:"data_api_version"`
	}
	if json.Unmarshal(f.JSON, &d) != nil {
		return "", ""
	}
	return d.Version, d.DataAPI
}

func (r request) fieldsOf(f *flow) map[string]any {
	flowJSON, dataAPI := f.versions()
	errors := f.Errors
	if errors == nil {
		errors = []validate.Problem{}
	}
	all := map[string]any{"id": f.ID, "name": f.Name, "status": f.Status, "categories": f.Categories, "validation_errors": errors,
		"json_version": flowJSON, "data_api_version": nil, "endpoint_uri": nil, "application": nil, "health_status": f.Health,
		"whatsapp_business_account": graph.Named{ID: f.account.ID, Name: "Shop"},
		"preview":                   graph.Preview{URL: "https://business.facebook.com/wa/manage/flows/" + f.ID + "/preview/?token=x", Expires: "2026-12-24T11:18:09+0000"}}
	if dataAPI != "" {
		all["data_api_version"] = dataAPI
	}
	if f.EndpointURI != "" {
		all["endpoint_uri"] = f.EndpointURI
	}
	if f.ApplicationID != "" {
		linked := graph.Named{ID: f.ApplicationID}
		if a := r.apps[f.ApplicationID]; a != nil {
			linked.Name = a.Name
		}
		all["application"] = linked
	}
	return all
}

func (r request) flow(f *flow) func() (any, error) {
	return func() (any, error) {
		if err := first(r.needs(graph.ScopeManagement), r.parameters("", "fields")); err != nil {
			return nil, err
		}
		return r.pick(r.fieldsOf(f), "WhatsAppFlow")
	}
}

func (r request) listFlows(a *account) func() (any, error) {
	return func() (any, error) {
		if err := first(r.needs(graph.ScopeManagement), r.parameters("", "fields", "limit", "after")); err != nil {
			return nil, err
		}
		all := []map[string]any{}
		for _, f := range a.flows {
			picked, err := r.pick(r.fieldsOf(f), "WhatsAppFlow")
			if err != nil {
				return nil, err
			}
			all = append(all, picked)
		}
		return page(r, all)
	}
}

func (a *account) taken(name string, by *flow) bool {
	return slices.ContainsFunc(a.flows, func(f *flow) bool { return f.Name == name && f != by })
}

func checkCategories(list []string) error {
	for _, c := range list {
		if !slices.Contains(graph.Categories, c) {
			return bad("Param categories[0] must be one of {%s}", strings.Join(graph.Categories, ", "))
		}
	}
	return nil
}

func checkEndpoint(uri string) error {
	u, err := url.Parse(uri)
	if uri != "" && (err != nil || u.Scheme != "https" || u.Host == "") {
		return bad("Invalid Endpoint URI")
	}
	return nil
}

func (r request) createFlow(a *account) func() (any, error) {
	return func() (any, error) {
		var body struct {
			Name       string   `json:"name"`
			Categories []string `json:"categories"`
			FlowJSON   *string  `json:"flow_json"`
			Publish    bool     `json:"publish"`
			Clone      string   `json:"clone_flow_id"`
			Endpoint   string   `json:"endpoint_uri"`
		}
		if err := first(r.needs(graph.ScopeManagement), r.object(&body)); err != nil {
			return nil, err
		}
		if err := first(checkCategories(body.Categories), checkEndpoint(body.Endpoint)); err != nil {
			return nil, err
		}
		var source *flow
		if body.Clone != "" {
			source = r.flows[body.Clone]
		}
		switch {
		case body.Name == "" || len(body.Categories) == 0:
			return nil, bad("The parameters name and categories are required.")
		case a.taken(body.Name, nil):
			return nil, bad("Flow name should be unique within one WhatsApp Business Account")
		case body.Clone != "" && (source == nil || source.account != a):
			return nil, bad("Specify existing Flow ID to clone from")
		case body.Clone != "" && body.FlowJSON != nil:
			return nil, bad("clone_flow_id and flow_json exclude each other")
		}
		f := &flow{account: a, Flow: Flow{ID: r.id(), Name: body.Name, Categories: body.Categories, Status: graph.Draft, EndpointURI: body.Endpoint}}
		f.Health = healthy("FLOW", f.ID)
		switch {
		case source != nil:
			f.JSON, f.Errors = source.JSON, source.Errors
			if f.EndpointURI == "" {
				f.EndpointURI = source.EndpointURI
			}
		case body.FlowJSON != nil:
			f.JSON = []byte(*body.FlowJSON)
			f.Errors = r.check(f.JSON)
		}
		// The app is inferred from the token.
		f.ApplicationID = r.token.AppID
		a.flows = append(a.flows, f)
		r.flows[f.ID] = f
		answer := map[string]any{"id": f.ID, "success": true, "validation_errors": f.Errors}
		if body.Publish {
			if err := r.mayPublish(f); err != nil {
				return nil, err
			}
			f.publish()
		}
		return answer, nil
	}
}

// mayChange refuses what cannot be changed.
func (f *flow) mayChange() error {
	if f.Status == graph.Deprecated || f.Old && f.Status != graph.Draft {
		return &refused{status: 400, code: graph.CodeFlowCannotUpdate, message: "(#139001) Updating attempt failed", details: "You can't update a flow that is " + f.Status}
	}
	return nil
}

func (r request) updateFlow(f *flow) func() (any, error) {
	return func() (any, error) {
		var body struct {
			Name        *string  `json:"name"`
			Categories  []string `json:"categories"`
			Endpoint    *string  `json:"endpoint_uri"`
			Application *string  `json:"application_id"`
		}
		if err := first(r.needs(graph.ScopeManagement), r.object(&body)); err != nil {
			return nil, err
		}
		if err := first(f.mayChange(), checkCategories(body.Categories)); err != nil {
			return nil, err
		}
		if body.Name != nil {
			if f.account.taken(*body.Name, f) {
				return nil, bad("Flow name should be unique within one WhatsApp Business Account")
			}
			f.Name = *body.Name
		}
		if body.Endpoint != nil {
			if version, _ := f.versions(); strings.HasPrefix(version, "2.") {
				return nil, bad("endpoint_uri is only for Flow JSON 3.0 or newer")
			}
			if err := checkEndpoint(*body.Endpoint); err != nil {
				return nil, err
			}
			f.EndpointURI = *body.Endpoint
		}
		if body.Application != nil {
			if r.apps[*body.Application] == nil {
				return nil, bad("Param application_id must be the id of an app")
			}
			f.ApplicationID = *body.Application
		}
		if len(body.Categories) > 0 {
			f.Categories = body.Categories
		}
		return done, nil
	}
}

func (r request) assets(f *flow) func() (any, error) {
	return func() (any, error) {
		if err := first(r.needs(graph.ScopeManagement), r.parameters("", "limit", "after")); err != nil {
			return nil, err
		}
		all := []graph.Asset{}
		if f.JSON != nil {
			link := fmt.Sprintf("%s-%d.json", f.ID, len(r.links))
			r.links[link] = f.JSON
			all = append(all, graph.Asset{Name: "flow.json", Type: "FLOW_JSON", URL: r.URL() + "/download/" + link})
		}
		return page(r, all)
	}
}

func (r request) upload(f *flow) func() (any, error) {
	return func() (any, error) {
		if err := first(r.needs(graph.ScopeManagement), r.parameters("multipart/form-data")); err != nil {
			return nil, err
		}
		text, err := r.file()
		if err != nil {
			return nil, err
		}
		if err := f.mayChange(); err != nil {
			return nil, err
		}
		f.JSON, f.Errors, f.Status = text, r.check(text), graph.Draft
		errors := f.Errors
		if errors == nil {
			errors = []validate.Problem{}
		}
		return map[string]any{"success": true, "validation_errors": errors}, nil
	}
}

// file reads the upload of a Flow JSON.
func (r request) file() ([]byte, error) {
	_, parameters, _ := mime.ParseMediaType(r.head.Get("Content-Type"))
	form, err := multipart.NewReader(bytes.NewReader(r.Body), parameters["boundary"]).ReadForm(32 << 20)
	if err != nil {
		return nil, bad("the form: %v", err)
	}
	defer form.RemoveAll() //nolint:errcheck // nothing depends on it
	files := form.File["file"]
	switch {
	case len(form.File) != 1 || len(files) != 1:
		return nil, bad("The parameter file is required.")
	case files[0].Header.Get("Content-Type") != "application/json":
		return nil, bad("the file is of the type %q, expected application/json", files[0].Header.Get("Content-Type"))
	case len(form.Value) != 2 || !slices.Equal(form.Value["name"], []string{"flow.json"}):
		return nil, bad("Param name must be flow.json")
	case !slices.Equal(form.Value["asset_type"], []string{"FLOW_JSON"}):
		return nil, bad("Param asset_type must be one of {FLOW_JSON}")
	case files[0].Size > flowjson.MaxSize:
		return nil, bad("the file is larger than 10 MB")
	}
	file, err := files[0].Open()
	if err != nil {
		return nil, err
	}
	defer file.Close() //nolint:errcheck // only read
	return io.ReadAll(file)
}

// mayPublish are Meta's checks, of which all but the first few are for flows
// with an endpoint.
func (r request) mayPublish(f *flow) error {
	no := func(why string) error {
		return &refused{status: 400, code: graph.CodeFlowCannotPublish, message: "(#139002) Publishing attempt failed", details: why}
	}
	version, dataAPI := f.versions()
	switch {
	case f.Status != graph.Draft:
		return no("The flow is not a draft.")
	case f.JSON == nil || len(f.Errors) > 0:
		return no("The Flow JSON has errors.")
	case slices.ContainsFunc([]string{"2.", "3.", "4.", "5.0"}, func(frozen string) bool { return strings.HasPrefix(version, frozen) }):
		return no("The Flow JSON version is frozen.")
	case !slices.ContainsFunc(f.account.numbers, func(n *number) bool { return n.Verification == "VERIFIED" }):
		return no("A verified phone number is required.")
	case dataAPI == "":
		return nil
	case f.EndpointURI == "":
		return no("An endpoint URI is required.")
	case f.ApplicationID == "":
		return no("A Meta app must be linked.")
	case !slices.ContainsFunc(f.account.numbers, func(n *number) bool { return n.key.Signature == graph.SignatureValid }):
		return no("A signed public key is required.")
	case len(f.account.subscribed) == 0:
		return no("The account must be subscribed to webhooks.")
	case f.Deaf:
		return no("The endpoint did not answer the health check.")
	}
	return nil
}

func (f *flow) publish() {
	f.Status = graph.Published
	f.Versions = append(f.Versions, f.JSON)
}

func (r request) publish(f *flow) func() (any, error) {
	return func() (any, error) {
		if err := first(r.needs(graph.ScopeManagement), r.parameters(""), r.mayPublish(f)); err != nil {
			return nil, err
		}
		f.publish()
		return done, nil
	}
}

func (r request) deprecate(f *flow) func() (any, error) {
	return func() (any, error) {
		if err := first(r.needs(graph.ScopeManagement), r.parameters("")); err != nil {
			return nil, err
		}
		if f.Status != graph.Published && f.Status != graph.Throttled && f.Status != graph.Blocked {
			return nil, &refused{status: 400, code: graph.CodeFlowCannotDeprecate, message: "(#139003) Deprecating attempt failed"}
		}
		f.Status = graph.Deprecated
		return done, nil
	}
}
