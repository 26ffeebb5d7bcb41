package api

import (
	"encoding/json"
	"os"
	"strings"
	"testing"
	"time"
)

// flowJSON is a small flow that Meta accepts; its only screen has this title.
func flowJSON(t *testing.T, title string) string {
	t.Helper()
	raw, err := os.ReadFile("testdata/flow.json")
	if err != nil {
		t.Fatal(err)
	}
	return strings.Replace(string(raw), "TITLE", title, 1)
}

// refusedFlowJSON runs here, and Meta would refuse it.
func refusedFlowJSON(t *testing.T, title string) string {
	t.Helper()
	return strings.Replace(flowJSON(t, title), `"required": true`, `"colour": "red"`, 1)
}

// brokenFlowJSON cannot run at all.
const brokenFlowJSON = `{"version":"7.3","screens":[]}`

// input is the body of a request that writes a flow.
type input map[string]any

// object puts a document into a body as it stands.
func object(document string) json.RawMessage { return json.RawMessage(document) }

// create creates a flow from a document in string form, and returns it.
func (s *served) create(name, document string) *response {
	s.t.Helper()
	return s.send("POST", "/api/flows", input{"name": name, "flowJson": document}).is(201)
}

// flow reads the flow of an answer.
func (r *response) flow() (f Flow) {
	r.t.Helper()
	r.data(&f)
	return f
}

// stored is what the server has of a flow, read as a file.
func (s *served) stored(name string) string {
	s.t.Helper()
	return string(s.get("/api/flows/" + name + "/flow.json").is(200).body)
}

// UnmarshalJSON lets tests read answers.
func (t *Timestamp) UnmarshalJSON(raw []byte) error {
	return json.Unmarshal(raw, (*time.Time)(t))
}
