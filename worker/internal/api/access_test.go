package api

import (
	"net/http"
	"slices"
	"strings"
	"testing"
)

func TestNobodyComesInWithoutAToken(t *testing.T) {
	t.Parallel()
	s := serve(t)
	for _, path := range []string{"/api/accounts", "/api/nothing", "/api/"} {
		for name, header := range map[string]string{
			"none": "", "a wrong one": "Bearer nonsense", "another scheme": "Basic " + rootToken, "no token": "Bearer ", "a part": "Bearer " + rootToken[:5],
		} {
			r := s.as("").get(path, "Authorization", header).failed(401, "UnauthorizedError")
			if !strings.HasPrefix(r.header.Get("WWW-Authenticate"), "Bearer ") {
				t.Errorf("%s, %s: no WWW-Authenticate", path, name)
			}
		}
	}
	s.as("").get("/api/accounts", "Authorization", "bearer  "+rootToken).is(200)
}

func TestWithoutTokensTheAPIIsOff(t *testing.T) {
	t.Parallel()
	s := serve(t, func(c *Config) { c.Tokens = nil })
	s.get("/api/accounts").failed(403, "API_DISABLED", "API_TOKEN")
	s.as("").get("/api/accounts").failed(403, "API_DISABLED")
	s.as("").get("/openapi.json").is(200)
	s.as("").get("/docs.json").is(200)
}

func TestATokenSeesItsAccountsOnly(t *testing.T) {
	t.Parallel()
	s := serve(t)
	for _, account := range []string{"shop", "bank", "other"} {
		if _, err := s.pool.Exec(t.Context(), `INSERT INTO flows (id, account, name) VALUES (gen_random_uuid(), $1, 'a')`, account); err != nil {
			t.Fatal(err)
		}
	}
	for _, statement := range []string{
		`INSERT INTO flow_responses (id, account, source, wamid, answered_at) SELECT gen_random_uuid(), 'answered', 'nfm_reply', n::text, now() FROM generate_series(1, 3) n`,
		`INSERT INTO flow_responses (id, account, source, wamid, answered_at) VALUES (gen_random_uuid(), 'shop', 'nfm_reply', 'w', now())`,
		`INSERT INTO flow_sessions (id, account, flow, token_hash, flow_token, version, attempt, status, started_at, last_activity_at)
			VALUES (gen_random_uuid(), 'used', 'a', 'h', 't', 1, 1, 'active', now(), now())`,
	} {
		if _, err := s.pool.Exec(t.Context(), statement); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		name, token string
		want        string
	}{
		{"every account", rootToken, "answered,bank,default,other,shop,used"},
		{"one", shopToken, "shop"},
		{"two", twoToken, "bank,shop"},
	} {
		var got []Account
		s.as(c.token).get("/api/accounts").is(200).data(&got)
		var names []string
		for _, a := range got {
			names = append(names, a.Name)
		}
		if strings.Join(names, ",") != c.want {
			t.Errorf("%s: %v, want %s", c.name, names, c.want)
		}
		if i := slices.Index(names, "shop"); got[i].Flows != 1 {
			t.Errorf("%s: %+v", c.name, got)
		}
	}
}

func TestWhatDoesNotExistIsJSON(t *testing.T) {
	t.Parallel()
	s := serve(t)
	s.get("/api/nothing").failed(404, "NOT_FOUND")
	s.as("").get("/docs/nothing").failed(404, "NOT_FOUND")
	r := s.send("DELETE", "/api/accounts", nil).failed(405, "METHOD_NOT_ALLOWED", "DELETE")
	if allow := r.header.Get("Allow"); allow != "GET, HEAD" {
		t.Errorf("Allow = %q", allow)
	}
	s.get("/api/accounts?colour=red").failed(400, "ValidationError", `"colour"`)
}

func TestPagesOfOtherOriginsAreRefusedUnlessNamed(t *testing.T) {
	t.Parallel()
	const good, bad = "https://admin.example.com", "https://evil.example"
	preflight := []string{"Access-Control-Request-Method", "PUT", "Access-Control-Request-Headers", "authorization"}
	for _, c := range []struct {
		name                string
		origins             []string
		origin              string
		allowed, credential string
	}{
		{"by default", nil, good, "", ""},
		{"one that is named", []string{good}, good, good, "true"},
		{"another one", []string{good}, bad, "", ""},
		{"everyone, then without credentials", []string{"*"}, bad, "*", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := serve(t, func(config *Config) { config.Origins = c.origins })
			check := func(h http.Header) {
				t.Helper()
				if h.Get("Access-Control-Allow-Origin") != c.allowed || h.Get("Access-Control-Allow-Credentials") != c.credential {
					t.Errorf("%v", h)
				}
			}
			check(s.get("/api/accounts", "Origin", c.origin).is(200).header)
			r := s.as("").send("OPTIONS", "/api/accounts", nil, append(preflight, "Origin", c.origin)...)
			check(r.header)
			if c.origins == nil {
				r.failed(401, "UnauthorizedError")
				return
			}
			r.is(204)
			if named := strings.Contains(r.header.Get("Access-Control-Allow-Methods"), "PUT"); named != (c.allowed != "") {
				t.Errorf("methods %q", r.header.Get("Access-Control-Allow-Methods"))
			}
			if len(c.origins) == 1 && c.origins[0] == good && !slices.Contains(r.header["Vary"], "Origin") {
				t.Error("a cache could give one origin's answer to another")
			}
		})
	}
}
