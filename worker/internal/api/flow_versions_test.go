package api

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
)

func TestAChangeOfContentMakesAVersionAndOtherChangesDoNot(t *testing.T) {
	t.Parallel()
	s := serve(t)
	a, b := flowJSON(t, "A"), flowJSON(t, "B")
	const logic = "# counts\nconstants: { max: 3 }\n"
	s.create("a", a)
	for i, step := range []struct {
		name    string
		method  string
		body    input
		version int
	}{
		{"metadata", "PATCH", input{"description": "x", "status": "deprecated"}, 1},
		{"the same content", "PATCH", input{"flowJson": a}, 1},
		{"the same content, replaced", "PUT", input{"flowJson": a}, 1},
		{"another content", "PATCH", input{"flowJson": b}, 2},
		{"logic", "PATCH", input{"logic": logic}, 3},
		{"the same logic", "PATCH", input{"logic": logic}, 3},
		{"replaced without logic", "PUT", input{"flowJson": b}, 4},
		{"an earlier content", "PUT", input{"flowJson": a, "logic": logic}, 5},
		{"no logic", "PATCH", input{"logic": nil}, 6},
	} {
		f := s.send(step.method, "/api/flows/a", step.body).is(200).flow()
		if f.LatestVersion != step.version || *f.ActiveVersion != step.version {
			t.Errorf("%d %s: version %d, active %d, want %d", i, step.name, f.LatestVersion, *f.ActiveVersion, step.version)
		}
	}
	var third Version
	if s.get("/api/flows/a/versions/3").is(200).data(&third); third.Version != 3 || *third.Logic != logic {
		t.Errorf("%+v", third)
	}
	s.get("/api/flows/a/logic").failed(404, "NotFoundError", "no logic")
	s.send("POST", "/api/flows/a/versions/5/activate", nil).is(200)
	if r := s.get("/api/flows/a/logic").is(200); string(r.body) != logic || r.header.Get("Content-Type") != "application/yaml" {
		t.Errorf("%v %s", r.header, r.body)
	}
	s.send("PATCH", "/api/flows/a", `{"logic": {"constants" : {"max":3}} }`).is(200)
	if r := s.get("/api/flows/a/logic").is(200); string(r.body) != `{"constants" : {"max":3}}` || r.header.Get("Content-Type") != "application/json" {
		t.Errorf("%v %s", r.header, r.body)
	}
}

func TestWhatCannotRunNeverReplacesWhatWorks(t *testing.T) {
	t.Parallel()
	s := serve(t)
	working := flowJSON(t, "A")
	s.create("a", working)
	for i, broken := range []string{brokenFlowJSON, "no JSON at all", brokenFlowJSON} {
		s.send("PUT", "/api/flows/a", input{"flowJson": broken}).failed(422, "INVALID_FLOW_JSON")
		var got struct{ Note string }
		r := s.send("PUT", "/api/flows/a?force=true", input{"flowJson": broken}).is(200)
		r.read(&got)
		if f := r.flow(); *f.ActiveVersion != 1 || f.LatestVersion != i+2 ||
			!strings.Contains(got.Note, fmt.Sprintf("Version %d is stored but not active", i+2)) || !strings.Contains(got.Note, "version 1 is still served") {
			t.Errorf("%s", r.body)
		}
	}
	if r := s.send("PUT", "/api/flows/a?force=true", input{"flowJson": brokenFlowJSON}).is(200); r.flow().LatestVersion != 4 {
		t.Errorf("the same again is a new version: %s", r.body)
	}
	if s.stored("a") != working {
		t.Error("another version is served")
	}
	s.send("POST", "/api/flows/a/versions/2/activate", nil).failed(409, "ConflictError", "cannot run")
	var v Version
	s.get("/api/flows/a/versions/3").is(200).data(&v)
	if v.Active || v.Broken == nil || v.Definition != nil || string(v.FlowJSON) != `"no JSON at all"` {
		t.Errorf("%+v", v)
	}
	if got := s.get("/api/flows/a/versions/3/flow.json").is(200); string(got.body) != "no JSON at all" {
		t.Errorf("%s", got.body)
	}

	r := s.send("POST", "/api/flows?force=true", input{"name": "b", "flowJson": brokenFlowJSON}).is(201)
	if f := r.flow(); f.ActiveVersion != nil || string(f.FlowJSON) != "null" || !strings.Contains(string(r.body), "nothing is served") {
		t.Errorf("%s", r.body)
	}
	s.get("/api/flows/b/flow.json").failed(404, "NotFoundError", "no active version")
	if f := s.send("PATCH", "/api/flows/b", input{"flowJson": working}).is(200).flow(); *f.ActiveVersion != 2 || f.Version != "" {
		t.Errorf("%+v", f.FlowSummary)
	}
}

func TestVersionsAreListedAndActivated(t *testing.T) {
	t.Parallel()
	s := serve(t)
	for i := range 5 {
		if i == 0 {
			s.create("a", flowJSON(t, "V1"))
		} else {
			s.send("PUT", "/api/flows/a", input{"flowJson": flowJSON(t, fmt.Sprintf("V%d", i+1))}).is(200)
		}
	}
	var numbers []int
	cursor := ""
	for {
		var page struct {
			Data       []VersionSummary
			Pagination struct {
				NextCursor *string `json:"next_cursor"`
			}
		}
		s.get("/api/flows/a/versions?limit=2" + cursor).is(200).read(&page)
		for _, v := range page.Data {
			numbers = append(numbers, v.Version)
			if v.Active != (v.Version == 5) || v.Definition == nil || v.Size == 0 {
				t.Errorf("%+v", v)
			}
		}
		if page.Pagination.NextCursor == nil {
			break
		}
		cursor = "&cursor=" + *page.Pagination.NextCursor
	}
	if !slices.Equal(numbers, []int{5, 4, 3, 2, 1}) {
		t.Errorf("versions %v", numbers)
	}
	if f := s.send("POST", "/api/flows/a/versions/2/activate", nil).is(200).flow(); *f.ActiveVersion != 2 || f.LatestVersion != 5 || !strings.Contains(string(f.FlowJSON), "V2") {
		t.Errorf("%+v", f.FlowSummary)
	}
	if f := s.send("PUT", "/api/flows/a", input{"flowJson": flowJSON(t, "V6")}).is(200).flow(); *f.ActiveVersion != 6 {
		t.Errorf("after going back, the next version is %d", *f.ActiveVersion)
	}
	for path, words := range map[string]string{"99": "newest is 6", "0": "version", "x": "version"} {
		if r := s.get("/api/flows/a/versions/" + path); r.code != 404 && r.code != 400 || !strings.Contains(string(r.body), words) {
			t.Errorf("%s: %d %s", path, r.code, r.body)
		}
	}
	s.send("POST", "/api/flows/a/versions/99/activate", nil).failed(404, "NotFoundError")
}

func TestParallelChangesOfOneFlowHaveNoGapsAndNoDoubles(t *testing.T) {
	t.Parallel()
	s := serve(t)
	s.create("a", flowJSON(t, "start"))
	const writers = 16
	var all sync.WaitGroup
	codes, created := make([]int, writers), make([]int, writers)
	for i := range writers {
		all.Go(func() {
			codes[i] = s.send("PUT", "/api/flows/a", input{"flowJson": flowJSON(t, fmt.Sprint("W", i))}).code
			created[i] = s.send("POST", "/api/flows", input{"name": "b", "flowJson": flowJSON(t, "B")}).code
		})
	}
	all.Wait()
	f := s.get("/api/flows/a").flow()
	if f.LatestVersion != writers+1 || *f.ActiveVersion != writers+1 {
		t.Errorf("latest %d, active %d, codes %v", f.LatestVersion, *f.ActiveVersion, codes)
	}
	made := 0
	for _, code := range created {
		if code == http.StatusCreated {
			made++
		} else if code != http.StatusConflict {
			t.Errorf("code %d", code)
		}
	}
	if made != 1 {
		t.Errorf("created %d times", made)
	}
	var distinct int
	if err := s.pool.QueryRow(t.Context(), `SELECT count(DISTINCT definition) FROM flow_versions v JOIN flows f ON f.id = v.flow_id WHERE f.name = 'a'`).
		Scan(&distinct); err != nil || distinct != writers+1 {
		t.Errorf("%d contents, %v", distinct, err)
	}
}
