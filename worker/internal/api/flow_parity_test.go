package api

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
)

// What whatsapp-flows-server has, and did wrong, row by row.

func TestParityCreateAnswers201WithTheEnvelope(t *testing.T) {
	t.Parallel()
	s := serve(t)
	r := s.send("POST", "/api/flows", input{
		"name": "csat-feedback", "version": "1.0", "flowJson": object(flowJSON(t, "Hello")), "description": "How was it?",
		"status": "inactive", "metaFlowId": "123", "templateName": "csat", "callbackUrl": "https://example.com/hook",
	}).is(201)
	var got struct {
		Success   bool
		Data      map[string]any
		Timestamp string
	}
	r.read(&got)
	for field, want := range map[string]any{
		"name": "csat-feedback", "version": "1.0", "description": "How was it?", "status": "inactive", "metaFlowId": "123", "templateName": "csat",
		"callbackUrl": "https://example.com/hook", "account": "default", "activeVersion": 1.0, "latestVersion": 1.0,
	} {
		if got.Data[field] != want {
			t.Errorf("%s = %v, want %v", field, got.Data[field], want)
		}
	}
	for _, field := range []string{"id", "createdAt", "updatedAt", "flowJson", "definition"} {
		if got.Data[field] == nil {
			t.Errorf("no %s", field)
		}
	}
	if at := got.Data["createdAt"].(string); !got.Success || len(at) != len(isoMilliseconds) || !strings.HasSuffix(at, "Z") {
		t.Errorf("success %t, createdAt %s", got.Success, at)
	}
	if r.header.Get("Location") != "/api/flows/"+got.Data["id"].(string) || r.header.Get("ETag") == "" {
		t.Errorf("header = %v", r.header)
	}
	if s.changed.Load() != 1 {
		t.Errorf("the edges were told %d times", s.changed.Load())
	}
}

func TestParityTheReadmesFlowJsonWithAnUnderscoreIsUnderstood(t *testing.T) {
	t.Parallel()
	s := serve(t)
	s.send("POST", "/api/flows", input{"name": "a", "flow_json": object(flowJSON(t, "A")), "meta_flow_id": "1", "template_name": "t", "callback_url": "http://x.example/"}).is(201)
	f := s.get("/api/flows/a").is(200).flow()
	if *f.MetaFlowID != "1" || *f.TemplateName != "t" || *f.CallbackURL != "http://x.example/" || f.Version != "7.3" || f.Status != "active" {
		t.Errorf("%+v", f.FlowSummary)
	}
	s.send("POST", "/api/flows", input{"name": "b", "flow_json": "{}", "flowJson": "{}"}).failed(400, "ValidationError", "flowJson comes twice")
}

func TestParityADuplicateNameIsAConflict(t *testing.T) {
	t.Parallel()
	s := serve(t)
	s.create("a", flowJSON(t, "A"))
	s.send("POST", "/api/flows", input{"name": "a", "flowJson": flowJSON(t, "B")}).failed(409, "ConflictError", "'a' already exists")
	s.create("b", flowJSON(t, "B"))
	s.send("PATCH", "/api/flows/b", input{"name": "a"}).failed(409, "ConflictError")
	s.send("POST", "/api/accounts/shop/flows", input{"name": "a", "flowJson": flowJSON(t, "A")}).is(201)
}

func TestParityGetPutAndDeleteByIdWork(t *testing.T) {
	t.Parallel()
	s := serve(t)
	id := s.create("a", flowJSON(t, "A")).flow().ID
	for _, path := range []string{"/api/flows/" + id, "/api/flows/a", "/api/flows/" + strings.ToUpper(id), "/api/accounts/default/flows/a"} {
		if f := s.get(path).is(200).flow(); f.ID != id {
			t.Errorf("%s: %+v", path, f.FlowSummary)
		}
	}
	if f := s.send("PUT", "/api/flows/"+id, input{"flowJson": flowJSON(t, "B")}).is(200).flow(); f.LatestVersion != 2 || !strings.Contains(string(f.FlowJSON), `"B"`) {
		t.Errorf("%+v", f)
	}
	if r := s.send("DELETE", "/api/flows/"+id, nil).is(204); len(r.body) != 0 {
		t.Errorf("204 with %s", r.body)
	}
	for _, path := range []string{id, "a", "nothing", "0199d0d7-6b0e-7c3a-8f62-0f6e1f0f7a11", "a%00b", "%2e%2e%2fx"} {
		s.get("/api/flows/"+path).failed(404, "NotFoundError", "not found")
	}
	s.send("PUT", "/api/flows/a", input{"flowJson": flowJSON(t, "B")}).failed(404, "NotFoundError")
	s.send("DELETE", "/api/flows/a", nil).failed(404, "NotFoundError")
}

func TestParityDeletingAFlowKeepsItsAnswersAndFreesItsName(t *testing.T) {
	t.Parallel()
	s := serve(t)
	old := s.create("a", flowJSON(t, "A")).flow()
	if _, err := s.pool.Exec(t.Context(), `INSERT INTO flow_responses (id, source, wamid, flow_id, flow, response_data, answered_at)
		VALUES (gen_random_uuid(), 'nfm_reply', 'w', $1, 'a', '{"name":"Ana"}', now())`, old.ID); err != nil {
		t.Fatal(err)
	}
	s.send("DELETE", "/api/flows/a", nil).is(204)
	renewed := s.create("a", flowJSON(t, "A")).flow()
	if renewed.ID == old.ID || renewed.LatestVersion != 1 {
		t.Errorf("%+v", renewed.FlowSummary)
	}
	var answers, versions int
	if err := s.pool.QueryRow(t.Context(), `SELECT (SELECT count(*) FROM flow_responses WHERE flow_id = $1), (SELECT count(*) FROM flow_versions WHERE flow_id = $1)`,
		old.ID).Scan(&answers, &versions); err != nil || answers != 1 || versions != 1 {
		t.Errorf("%d answers and %d versions are left, %v", answers, versions, err)
	}
}

func TestParityTheSpecificationSaysWhatIs(t *testing.T) {
	t.Parallel()
	s := serve(t)
	var spec struct {
		OpenAPI string
		Servers []struct{ URL string }
		Paths   map[string]map[string]struct {
			OperationID string
			Security    []map[string][]string
			Responses   map[string]any
			Parameters  []struct{ Name, In string }
		}
		Components struct{ SecuritySchemes map[string]any }
	}
	first := s.as("").get("/openapi.json").is(200)
	if second := s.as("").get("/docs.json").is(200); string(first.body) != string(second.body) {
		t.Error("/docs.json is another document than /openapi.json")
	}
	first.read(&spec)
	if !strings.HasPrefix(spec.OpenAPI, "3.1") || len(spec.Servers) != 1 || spec.Servers[0].URL != "/" || len(spec.Components.SecuritySchemes) != 1 {
		t.Errorf("%s, servers %v", spec.OpenAPI, spec.Servers)
	}
	for path, operations := range spec.Paths {
		for method, op := range operations {
			if op.OperationID == "" || len(op.Security) != 1 || op.Responses["401"] == nil || op.Responses["403"] == nil {
				t.Errorf("%s %s: no id, security, 401 or 403", method, path)
			}
			concrete := strings.NewReplacer("{flow}", "none", "{version}", "1", "{id}", "0199d0d7-6b0e-7c3a-8f62-0f6e1f0f7a11").Replace(path)
			if r := s.as("").send(strings.ToUpper(method), concrete, nil); r.code != 401 {
				t.Errorf("%s %s without a token: %d", method, path, r.code)
			}
			if r := s.send(strings.ToUpper(method), concrete, nil); r.code == 405 || strings.Contains(string(r.body), `"NOT_FOUND"`) {
				t.Errorf("%s %s is in the document and not served", method, path)
			}
		}
	}
}

func TestParityMalformedBodiesAre400WithTheirPlace(t *testing.T) {
	t.Parallel()
	s := serve(t)
	for _, c := range []struct {
		name, body string
		words      string
	}{
		{"no JSON", "{\n  \"name\": oops}", "line 2, column 11"},
		{"nothing", "", "body is required"},
		{"an array", "[]", "JSON array, expected an object"},
		{"a misspelt field", `{"flowjson":{}}`, `"flowjson"`},
		{"a name with a space", `{"name":"CSAT Feedback","flowJson":"{}"}`, "name is"},
		{"a name that is a path", `{"name":"../x","flowJson":"{}"}`, "name is"},
		{"a name that is a UUID", `{"name":"0199d0d7-6b0e-7c3a-8f62-0f6e1f0f7a11","flowJson":"{}"}`, "UUID"},
		{"no name", `{"flowJson":"{}"}`, "name is missing"},
		{"no Flow JSON", `{"name":"a"}`, "flowJson is missing"},
		{"Flow JSON that is a number", `{"name":"a","flowJson":7}`, "flowJson is a JSON number"},
		{"a status that is none", `{"name":"a","flowJson":"{}","status":"paused"}`, "active, inactive, deprecated"},
		{"a callback that is no URL", `{"name":"a","flowJson":"{}","callbackUrl":"javascript:alert(1)"}`, "callbackUrl"},
		{"a long description", `{"name":"a","flowJson":"{}","description":"` + strings.Repeat("é", 1001) + `"}`, "1001 characters"},
		{"a description with U+0000", `{"name":"a","flowJson":"{}","description":"\u0000"}`, "U+0000"},
		{"logic that is a list", `{"name":"a","flowJson":"{}","logic":[]}`, "logic is a JSON array"},
		{"an unpaired surrogate", `{"name":"a","flowJson":"\ud800"}`, "line 1"},
		{"another account than the one it goes to", `{"name":"a","flowJson":"{}","account":"shop"}`, "account"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s.send("POST", "/api/flows", c.body).failed(400, "ValidationError", c.words)
		})
	}
	s.send("POST", "/api/flows", "name=a", "Content-Type", "application/x-www-form-urlencoded").failed(415, "UNSUPPORTED_MEDIA_TYPE", "Content-Type: application/json")
	s.send("POST", "/api/flows", `{"name":"a","flowJson":`+flowJSON(t, "A")+`}`, "Content-Type", "application/json; charset=utf-8").is(201)
	if s.changed.Load() != 1 {
		t.Errorf("the edges were told %d times", s.changed.Load())
	}
}

func TestParityAFlowOfTenMegabytesIsTakenAndMoreIs413(t *testing.T) {
	t.Parallel()
	s := serve(t)
	padded := flowJSON(t, "A") + strings.Repeat(" ", 10<<20-len(flowJSON(t, "A")))
	s.send("POST", "/api/flows", `{"name":"a","flowJson":`+strings.TrimRight(padded, " ")+strings.Repeat(" ", 9<<20)+`}`).is(201)
	s.create("b", padded)
	if s.stored("b") != padded {
		t.Error("10 MiB did not come back as they went")
	}
	s.send("POST", "/api/flows", strings.Repeat(" ", 12<<20+1)).failed(413, "PAYLOAD_TOO_LARGE", "12582912 bytes")
	s.send("POST", "/api/flows", input{"name": "c", "flowJson": padded + " "}).failed(422, "INVALID_FLOW_JSON", "10 MiB")
}

func TestParityEveryErrorIsInTheEnvelope(t *testing.T) {
	t.Parallel()
	s := serve(t, func(c *Config) { c.Changed = func() { panic("a secret in the panic") } })
	r := s.send("POST", "/api/flows", input{"name": "a", "flowJson": flowJSON(t, "A")}).failed(500, "INTERNAL_ERROR")
	if strings.Contains(string(r.body), "secret") || s.log.FilterMessage("a request made the API panic").Len() != 1 {
		t.Errorf("%s, log %v", r.body, s.log.All())
	}
	if _, err := s.pool.Exec(t.Context(), `ALTER TABLE flow_versions RENAME TO elsewhere`); err != nil {
		t.Fatal(err)
	}
	if r := s.get("/api/flows/a").failed(500, "INTERNAL_ERROR"); strings.Contains(string(r.body), "flow_versions") {
		t.Errorf("the answer tells of the database: %s", r.body)
	}
	s.pool.Close()
	s.get("/api/flows").failed(500, "INTERNAL_ERROR")
	var details struct {
		Error struct{ Details json.RawMessage }
	}
	s.get("/api/flows?limit=x&sort=size").failed(400, "ValidationError").read(&details)
	if !strings.Contains(string(details.Error.Details), "query.limit") || !strings.Contains(string(details.Error.Details), "-createdAt") {
		t.Errorf("details = %s", details.Error.Details)
	}
	for _, h := range []string{"X-Content-Type-Options", "Cache-Control"} {
		if r.header.Get(h) == "" {
			t.Errorf("no %s", h)
		}
	}
	if s.send(http.MethodTrace, "/api/flows", nil).code == 200 {
		t.Error("TRACE is answered")
	}
}
