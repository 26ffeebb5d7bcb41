package api

import (
	"encoding/base64"
	"testing"
)

// A query that cannot be read is not a query without filters: an export would
// have everybody's answers in it.
func TestAQueryThatCannotBeReadIsRefused(t *testing.T) {
	t.Parallel()
	s := serve(t)
	for _, query := range []string{"account=shop;", "status=inactive%zz", "phone=1&limit=1;sort=x", "acc%zzount=shop"} {
		s.get("/api/flows?"+query).failed(400, "ValidationError", "query")
	}
	s.get("/api/flows?account=%20").failed(400, "ValidationError", "account")
}

// A script whose variable is not set must not export everything.
func TestAFilterWithoutAValueIsRefused(t *testing.T) {
	t.Parallel()
	s := serve(t)
	for _, query := range []string{"flow=", "phone", "account=", "format=csv&since="} {
		s.get("/api/responses/export?"+query).failed(400, "ValidationError", "empty")
	}
	s.get("/api/flows?cursor=&search=").is(200) // the first page, and a search field that is empty
}

func TestAForgedCursorIsTheClientsMistake(t *testing.T) {
	t.Parallel()
	s := serve(t)
	s.create("csat", flowJSON(t, "One"))
	for _, place := range []string{`{"v":99999999999}`, `{"v":2147483648}`, `{"v":-1}`, `{"v":0}`, `{"v":1}{}`, `{"v":1.5}`} {
		cursor := base64.RawURLEncoding.EncodeToString([]byte(place))
		s.get("/api/flows/csat/versions?cursor="+cursor).failed(400, "ValidationError", "cursor")
	}
}

// Express, which whatsapp-flows-server runs on, takes a path with a slash at its
// end for the same.
func TestASlashAtTheEndOfAPath(t *testing.T) {
	t.Parallel()
	s := serve(t)
	s.create("csat", flowJSON(t, "One"))
	s.get("/api/flows/").is(200)
	s.get("/api/flows/csat/").is(200)
	s.send("POST", "/api/flows/", input{"name": "second", "flowJson": flowJSON(t, "Two")}).is(201)
}
