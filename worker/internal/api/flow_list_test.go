package api

import (
	"fmt"
	"net/url"
	"slices"
	"strings"
	"testing"
)

// page reads the flows of a page, and the cursor of the next one.
func (r *response) page() (names []string, next *string) {
	r.t.Helper()
	var got struct {
		Success    bool
		Data       []FlowSummary
		Pagination struct {
			Limit      int
			NextCursor *string `json:"next_cursor"`
		}
	}
	r.is(200).read(&got)
	if !got.Success || got.Data == nil || got.Pagination.Limit == 0 || len(got.Data) > got.Pagination.Limit {
		r.t.Errorf("%s: %s", r.what, r.body)
	}
	for _, f := range got.Data {
		names = append(names, f.Name)
	}
	return names, got.Pagination.NextCursor
}

func TestParityListsFilterSearchAndSort(t *testing.T) {
	t.Parallel()
	s := serve(t)
	for name, more := range map[string]input{
		"alpha":   {"description": "First 100% of_them", "metaFlowId": "1"},
		"Beta":    {"description": "second", "status": "inactive", "metaFlowId": "2"},
		"gamma_x": {"status": "deprecated"},
	} {
		more["name"], more["flowJson"] = name, flowJSON(t, name)
		s.send("POST", "/api/flows", more).is(201)
	}
	s.send("POST", "/api/flows?account=shop", input{"name": "alpha", "flowJson": flowJSON(t, "S")}).is(201)
	for query, want := range map[string]string{
		"sort=name&account=default":               "Beta alpha gamma_x",
		"sort=-name&account=default":              "gamma_x alpha Beta",
		"status=inactive":                         "Beta",
		"status=deprecated":                       "gamma_x",
		"status=active&account=shop":              "alpha",
		"name=alpha":                              "alpha alpha",
		"search=ALPH&account=default":             "alpha",
		"search=0%25&account=default":             "alpha",
		"search=_&sort=name&account=default":      "alpha gamma_x",
		"search=%25x":                             "",
		"metaFlowId=2":                            "Beta",
		"name=gamma_x&status=inactive":            "",
		"account=nobody":                          "",
		"search=seco&status=inactive&sort=-name":  "Beta",
		"sort=updatedAt&limit=200&account=shop":   "alpha",
		"sort=createdAt&account=default&limit=01": "",
	} {
		r := s.get("/api/flows?" + query)
		if strings.HasSuffix(query, "limit=01") {
			if got, next := r.page(); len(got) != 1 || next == nil {
				t.Errorf("%s: %v", query, got)
			}
			continue
		}
		if got, _ := r.page(); strings.Join(got, " ") != want {
			t.Errorf("%s: %v, want %s", query, got, want)
		}
	}
	if strings.Contains(string(s.get("/api/flows").body), "flowJson") {
		t.Error("a list holds documents")
	}
}

func TestParityWhatAListDoesNotKnowIsSaidNotIgnored(t *testing.T) {
	t.Parallel()
	s := serve(t)
	for query, words := range map[string]string{
		"page=2": "cursor, limit", "sortBy=name": "sort", "status=bogus": "active, inactive, deprecated", "sort=size": "name, -name, createdAt",
		"limit=0": "limit", "limit=201": "200", "limit=many": "limit", "cursor=nonsense": "next_cursor", "cursor=e30x": "next_cursor",
		"status=active&status=inactive": "2 times", "search=%ff": "UTF-8", "account=a/b": "account",
	} {
		s.get("/api/flows?"+query).failed(400, "ValidationError", words)
	}
}

func TestPagesAreStableWhileFlowsAreAdded(t *testing.T) {
	t.Parallel()
	s := serve(t)
	for i := range 7 {
		s.create(fmt.Sprintf("f%02d", i*2), flowJSON(t, "A"))
	}
	for _, sort := range []string{"name", "-name", "createdAt", "-createdAt", "updatedAt", "-updatedAt"} {
		var seen []string
		cursor, query := "", "/api/flows?limit=2&sort="+sort
		for page := 0; ; page++ {
			names, next := s.get(query + cursor).page()
			seen = append(seen, names...)
			if next == nil {
				break
			}
			cursor = "&cursor=" + url.QueryEscape(*next)
			if page == 1 { // before and after the place of the reader
				for _, name := range []string{"a", "z"} {
					s.create(name+strings.ReplaceAll(sort, "-", "x"), flowJSON(t, "A"))
				}
			}
		}
		var old []string
		for _, name := range seen {
			if strings.HasPrefix(name, "f") {
				old = append(old, name)
			}
		}
		want := []string{"f00", "f02", "f04", "f06", "f08", "f10", "f12"}
		if strings.HasPrefix(sort, "-") {
			slices.Reverse(want)
		}
		if !slices.Equal(old, want) {
			t.Errorf("sort %s: %v", sort, seen)
		}
	}
	_, next := s.get("/api/flows?limit=2&sort=name").page()
	s.get("/api/flows?sort=-name&cursor="+url.QueryEscape(*next)).failed(400, "ValidationError", "cursor")
}

func FuzzCursor(f *testing.F) {
	f.Add("")
	f.Add(encodeCursor(flowPlace{Sort: "name", Name: "a"}))
	f.Add("e30")
	f.Fuzz(func(t *testing.T, cursor string) {
		var place flowPlace
		further, err := Page{Cursor: cursor}.after(&place)
		if further && err != nil || !further && err == nil && cursor != "" {
			t.Fatal("neither a place nor an error")
		}
	})
}
