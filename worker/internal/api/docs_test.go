package api

import (
	"io"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"

	"github.com/danielgtaylor/huma/v2"
)

// The page must work where there is no internet, and tell nobody who reads it.
func TestTheDocsPageLoadsNothingFromElsewhere(t *testing.T) {
	t.Parallel()
	handler := New(Config{})
	get := func(path string, headers ...string) *httptest.ResponseRecorder {
		t.Helper()
		r := httptest.NewRequest(http.MethodGet, path, nil)
		for i := 0; i < len(headers); i += 2 {
			r.Header.Set(headers[i], headers[i+1])
		}
		w := httptest.NewRecorder()
		if handler.ServeHTTP(w, r); w.Code != 200 {
			t.Fatalf("%s: %d", path, w.Code)
		}
		return w
	}
	page := get("/docs")
	if other := get("/docs/"); other.Body.String() != page.Body.String() || !strings.HasPrefix(page.Header().Get("Content-Type"), "text/html") {
		t.Errorf("/docs/ differs, or is %s", page.Header().Get("Content-Type"))
	}
	policy := page.Header().Get("Content-Security-Policy")
	for _, source := range regexp.MustCompile(`'?[a-z:-]+'?`).FindAllString(policy, -1) {
		if strings.HasPrefix(source, "http") || source == "'unsafe-eval'" {
			t.Errorf("the policy allows %s", source)
		}
	}
	if !strings.HasPrefix(policy, "default-src 'none'") {
		t.Errorf("policy = %s", policy)
	}
	loaded := regexp.MustCompile(`(?:src|href)="([^"]*)"`).FindAllStringSubmatch(page.Body.String(), -1)
	if len(loaded) < 4 {
		t.Fatalf("the page loads %v", loaded)
	}
	for _, m := range loaded {
		if !strings.HasPrefix(m[1], "/docs/") && m[1] != "/openapi.json" { // the shipped Caddyfile passes no other path on
			t.Errorf("the page loads %s", m[1])
			continue
		}
		if get(m[1]).Body.Len() == 0 {
			t.Errorf("%s is empty", m[1])
		}
	}
	zipped, whole := get("/docs/swagger-ui-bundle.js", "Accept-Encoding", "gzip"), get("/docs/swagger-ui-bundle.js")
	body, err := io.ReadAll(whole.Body)
	if err != nil || !strings.Contains(string(body), "SwaggerUIBundle") || zipped.Body.Len() >= len(body) || zipped.Header().Get("Content-Encoding") != "gzip" {
		t.Errorf("%d bytes zipped, %d bytes whole, %v", zipped.Body.Len(), len(body), err)
	}
	if start := get("/docs/start.js").Body.String(); !strings.Contains(start, "validatorUrl: null") {
		t.Errorf("Swagger UI would ask its own service: %s", start)
	}
}

// Swagger UI sends the example of a parameter unless it is deleted by hand: a list
// that somebody tries out would be of an account, or a number, they have not
// heard of.
func TestTryingOutSendsNoFilterOfItsOwn(t *testing.T) {
	t.Parallel()
	for path, item := range newAPI(Config{}).huma.OpenAPI().Paths {
		for _, op := range []*huma.Operation{item.Get, item.Post, item.Put, item.Patch, item.Delete} {
			if op == nil {
				continue
			}
			for _, p := range op.Parameters {
				if p.In == "query" && (p.Example != nil || len(p.Examples) > 0) {
					t.Errorf("%s: the parameter %s has an example", path, p.Name)
				}
			}
		}
	}
}
