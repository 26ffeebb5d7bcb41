package api

import (
	"encoding/json"
	"strings"
	"testing"
)

// Meta compares a flow's hash with that of what was uploaded, and an author's
// diff should show what was changed: not one byte may differ.
func TestFlowJSONIsKeptByteForByte(t *testing.T) {
	t.Parallel()
	s := serve(t)
	screen := `{"id":"ASK","title":"A","terminal":true,"success":true,"layout":{"type":"SingleColumnLayout","children":[` +
		`{"type":"TextInput","name":"name","label":"Name","max-chars":1e2},` +
		`{"type":"Footer","label":"Send","on-click-action":{"name":"complete","payload":{"name":"${form.name}"}}}]}}`
	for name, document := range map[string]string{
		"odd-white-space":    "{\r\n\t\"version\" :\"7.3\" ,\n\n \"screens\":[ " + screen + "\t]\r\n }",
		"order-of-keys":      `{"screens":[` + screen + `],"version":"7.3"}`,
		"escapes":            `{"version":"7.3","screens":[` + strings.Replace(screen, `"A"`, `"\u0041\u00e9 é \/ <b>&amp;\u2028"`, 1) + `]}`,
		"numbers":            `{"version":"7.3","screens":[` + screen + `],"x":[1.0,1e2,-0,12345678901234567890.10]}`,
		"a-key-twice":        `{"version":"7.2","version":"7.3","screens":[` + screen + `]}`,
		"html":               `{"version":"7.3","screens":[` + strings.Replace(screen, `"A"`, `"<script>&"`, 1) + `]}`,
		"the-name-of-splice": `{"version":"7.3","screens":[` + screen + `],"flowJson":null,"y":"\"flowJson\":null"}`,
	} {
		t.Run(name, func(t *testing.T) {
			s := &served{t: t, url: s.url, client: s.client, token: s.token}
			inBody := s.send("POST", "/api/flows?force=true", `{"name":"`+name+`","flowJson": `+document+` }`).is(201)
			got := s.get("/api/flows/" + name)
			for _, r := range []*response{inBody, got, s.get("/api/flows/" + name + "/versions/1").is(200)} {
				if !strings.Contains(string(r.body), `"flowJson":`+document) {
					t.Errorf("%s: in the envelope: %s", r.what, r.body)
				}
				if !json.Valid(r.body) {
					t.Errorf("%s: the envelope is no JSON", r.what)
				}
			}
			for _, path := range []string{"", "/versions/1"} {
				if r := s.get("/api/flows/" + name + path + "/flow.json").is(200); string(r.body) != document || r.header.Get("Content-Type") != "application/json" {
					t.Errorf("%s: %s", r.what, r.body)
				}
			}
			s.send("POST", "/api/flows?force=true", input{"name": name + "-as-string", "flowJson": document}).is(201)
			if got := s.stored(name + "-as-string"); got != document {
				t.Errorf("as a string: %s", got)
			}
		})
	}
}

func TestAByteOrderMarkStaysInTheFileAndNotInTheEnvelope(t *testing.T) {
	t.Parallel()
	s := serve(t)
	document := "\ufeff" + flowJSON(t, "A")
	r := s.create("a", document)
	if string(r.flow().FlowJSON) != strings.TrimSpace(document[3:]) {
		t.Errorf("%s", r.body)
	}
	if s.stored("a") != document {
		t.Error("the byte order mark is lost")
	}
}

func TestPutReplacesAndPatchMerges(t *testing.T) {
	t.Parallel()
	s := serve(t)
	full := input{"name": "a", "flowJson": flowJSON(t, "A"), "description": "d", "metaFlowId": "1", "version": "mine", "status": "inactive"}
	s.send("POST", "/api/flows", full).is(201)
	text := func(v *string) string {
		if v == nil {
			return "null"
		}
		return *v
	}
	for _, step := range []struct {
		method string
		body   input
		want   string
	}{
		{"PATCH", input{"description": nil}, "a null 1 mine inactive"},
		{"PATCH", input{"metaFlowId": "2", "status": "active"}, "a null 2 mine active"},
		{"PATCH", input{"version": nil, "description": ""}, "a  2  active"},
		{"PUT", input{"flowJson": flowJSON(t, "A"), "description": "e"}, "a e null 7.3 active"},
		{"PATCH", input{"flowJson": strings.Replace(flowJSON(t, "A"), "7.3", "7.2", 1)}, "a e null 7.2 active"},
		{"PATCH", input{"name": "b"}, "b e null 7.2 active"},
		// What a client got, it may send back.
		{"PUT", input{"name": "a", "id": "x", "createdAt": "y", "activeVersion": 1, "account": "default", "flowJson": flowJSON(t, "A")}, "a null null 7.3 active"},
	} {
		name := "a"
		if f, _ := s.get("/api/flows").page(); f[0] == "b" {
			name = "b"
		}
		f := s.send(step.method, "/api/flows/"+name, step.body).is(200).flow()
		if got := strings.Join([]string{f.Name, text(f.Description), text(f.MetaFlowID), f.Version, f.Status}, " "); got != step.want {
			t.Errorf("%s %v: %s, want %s", step.method, step.body, got, step.want)
		}
	}
	s.send("PATCH", "/api/flows/a", "{}").failed(400, "ValidationError", "At least one field")
	s.send("PUT", "/api/flows/a", input{"status": "inactive"}).failed(400, "ValidationError", "flowJson is missing", "PATCH")
}

func TestAFlowThatMetaWouldRefuseIsRefused(t *testing.T) {
	t.Parallel()
	s := serve(t)
	var got struct {
		Error struct {
			Details []Mistake
		}
	}
	s.send("POST", "/api/flows", input{"name": "a", "flowJson": refusedFlowJSON(t, "A")}).
		failed(422, "INVALID_FLOW_JSON", "colour").read(&got)
	if len(got.Error.Details) == 0 || got.Error.Details[0].Error != "INVALID_PROPERTY_KEY" || got.Error.Details[0].ErrorType != "FLOW_JSON_ERROR" ||
		got.Error.Details[0].LineStart != 12 || len(got.Error.Details[0].Pointers) == 0 {
		t.Errorf("details = %+v", got.Error.Details)
	}
	s.get("/api/flows/a").failed(404, "NotFoundError")
	r := s.send("POST", "/api/flows?force=true", input{"name": "a", "flowJson": refusedFlowJSON(t, "A")}).is(201)
	if f := r.flow(); *f.ActiveVersion != 1 || !strings.Contains(string(r.body), `"valid":false`) {
		t.Errorf("%s", r.body)
	}
	s.send("PATCH", "/api/flows/a", input{"description": "no content, no question"}).is(200)
	s.send("PATCH", "/api/flows/a", input{"flowJson": refusedFlowJSON(t, "B")}).failed(422, "INVALID_FLOW_JSON")
}

func TestETagsGuardAgainstLostUpdates(t *testing.T) {
	t.Parallel()
	s := serve(t)
	r := s.create("a", flowJSON(t, "A"))
	tag := r.header.Get("ETag")
	if got := s.get("/api/flows/a").header.Get("ETag"); got != tag || tag == "" {
		t.Errorf("ETag %s, then %s", tag, got)
	}
	if r := s.get("/api/flows/a", "If-None-Match", tag).is(304); len(r.body) != 0 || r.header.Get("ETag") != tag ||
		strings.Join(r.header["Cache-Control"], ",") != "private, no-cache" {
		t.Errorf("304 with %s", r.body)
	}
	s.get("/api/flows/a", "If-None-Match", `"other", W/`+tag).is(304)
	s.get("/api/flows/a", "If-None-Match", `"other"`).is(200)
	next := s.send("PATCH", "/api/flows/a", input{"description": "x"}, "If-Match", tag).is(200).header.Get("ETag")
	if next == tag {
		t.Error("a change leaves the ETag")
	}
	for _, method := range []string{"PUT", "PATCH"} {
		s.send(method, "/api/flows/a", input{"flowJson": flowJSON(t, "B")}, "If-Match", tag).failed(412, "PRECONDITION_FAILED", next)
	}
	s.send("DELETE", "/api/flows/a", nil, "If-Match", tag).failed(412, "PRECONDITION_FAILED")
	s.send("POST", "/api/flows/a/versions/1/activate", nil, "If-Match", tag).failed(412, "PRECONDITION_FAILED")
	if same := s.send("PATCH", "/api/flows/a", input{"description": "x"}, "If-Match", "*").is(200).header.Get("ETag"); same != next {
		t.Error("a change of nothing changes the ETag")
	}
	file := s.get("/api/flows/a/flow.json").is(200).header.Get("ETag")
	s.get("/api/flows/a/flow.json", "If-None-Match", file).is(304)
	s.send("DELETE", "/api/flows/a", nil, "If-Match", next).is(204)
	if again := s.create("a", flowJSON(t, "A")).header.Get("ETag"); again == tag {
		t.Error("a new flow of the same name has the ETag of the old one")
	}
	s.send("POST", "/api/flows", input{"name": "b", "flowJson": flowJSON(t, "B")}, "If-None-Match", "*").is(201)
}

func TestLogicThatCannotRunIsRefusedWithItsPlace(t *testing.T) {
	t.Parallel()
	s := serve(t)
	s.create("a", flowJSON(t, "A"))
	for name, logic := range map[string]string{
		"no YAML": "\nscreens: [", "an unknown screen": "\nscreens: { NOWHERE: { close: true } }", "an unknown field": "screens:\n  ASK:\n    set: { x: form.nmae }",
	} {
		var got struct {
			Error struct{ Details []Mistake }
		}
		s.send("PATCH", "/api/flows/a", input{"logic": logic}).failed(422, "INVALID_LOGIC", "The logic has", "line ").read(&got)
		if len(got.Error.Details) == 0 || got.Error.Details[0].ErrorType != "LOGIC_ERROR" || got.Error.Details[0].LineStart < 2 {
			t.Errorf("%s: %+v", name, got.Error.Details)
		}
	}
	both := s.send("PATCH", "/api/flows/a", input{"logic": "screens: [", "flowJson": refusedFlowJSON(t, "B")}).failed(422, "INVALID_FLOW_JSON")
	if !strings.Contains(string(both.body), "LOGIC_ERROR") {
		t.Errorf("the mistakes in the logic are left out: %s", both.body)
	}
	if f := s.send("PATCH", "/api/flows/a?force=true", input{"logic": "screens: ["}).is(200).flow(); *f.ActiveVersion != 1 || f.LatestVersion != 2 {
		t.Errorf("%+v", f.FlowSummary)
	}
}

func TestTheExampleOfTheSpecificationIsAFlowThatCanBeCreated(t *testing.T) {
	t.Parallel()
	s := serve(t)
	s.send("POST", "/api/flows", flowExample).is(201)
}

func TestValidateStoresNothing(t *testing.T) {
	t.Parallel()
	s := serve(t)
	reader := s.as(readerToken)
	for name, c := range map[string]struct {
		document string
		valid    bool
	}{
		"right": {flowJSON(t, "A"), true}, "refused by Meta": {refusedFlowJSON(t, "A"), false}, "broken": {brokenFlowJSON, false}, "no JSON": {"{", false},
	} {
		var got Validation
		reader.send("POST", "/api/flows/validate", input{"flowJson": c.document}).is(200).data(&got)
		if got.Valid != c.valid || got.Valid != (len(got.Errors) == 0) || got.Warnings == nil || got.Notes == nil {
			t.Errorf("%s: %+v", name, got)
		}
	}
	reader.send("POST", "/api/flows/validate", input{}).failed(400, "ValidationError", "flowJson is missing")
	if names, _ := s.get("/api/flows").page(); names != nil || s.changed.Load() != 0 {
		t.Errorf("stored %v", names)
	}
}
