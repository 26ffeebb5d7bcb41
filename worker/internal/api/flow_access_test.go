package api

import (
	"fmt"
	"strings"
	"testing"
)

func TestEachWriteIsOneLineInTheLogWithoutContent(t *testing.T) {
	t.Parallel()
	s := serve(t)
	s.create("a", flowJSON(t, "Secret title"))
	s.send("PATCH", "/api/flows/a", input{"description": "private"}).is(200)
	s.send("POST", "/api/flows", input{"name": "a", "flowJson": flowJSON(t, "A")}).is(409)
	s.get("/api/flows").is(200)
	s.send("DELETE", "/api/flows/a", nil).is(204)
	var operations []string
	for _, line := range s.log.All() {
		text := fmt.Sprint(line.Message, line.ContextMap())
		for _, secret := range []string{rootToken, "Secret title", "private"} {
			if strings.Contains(text, secret) {
				t.Errorf("the log holds %q: %s", secret, text)
			}
		}
		fields := line.ContextMap()
		if fields["token"] != "API_TOKEN 1" || fields["flow"] != "a" || fields["account"] != "default" {
			t.Errorf("%s", text)
		}
		operations = append(operations, fmt.Sprint(fields["operation"]))
	}
	if got := strings.Join(operations, " "); got != "createFlow changeFlow deleteFlow" {
		t.Errorf("lines: %s", got)
	}
}

func TestTokensWriteWhatTheyMayOnly(t *testing.T) {
	t.Parallel()
	s := serve(t)
	body := input{"name": "a", "flowJson": flowJSON(t, "A")}
	for _, c := range []struct {
		name, token, path string
		code              int
		account           string
	}{
		{"a reader", readerToken, "/api/flows", 403, ""},
		{"the shop, of itself", shopToken, "/api/flows", 201, "shop"},
		{"the shop, elsewhere", shopToken, "/api/accounts/default/flows", 403, ""},
		{"the shop, elsewhere by parameter", shopToken, "/api/flows?account=default", 403, ""},
		{"two accounts, without saying which", twoToken, "/api/flows", 400, ""},
		{"two accounts, one of them", twoToken, "/api/flows?account=bank", 201, "bank"},
		{"all accounts", rootToken, "/api/flows", 201, "default"},
		{"all accounts, one of them", rootToken, "/api/accounts/other/flows", 201, "other"},
		{"path and parameter differ", rootToken, "/api/accounts/other/flows?account=shop", 400, ""},
		{"an account that is none", rootToken, "/api/accounts/a%2Fb/flows", 400, ""},
	} {
		r := s.as(c.token).send("POST", c.path, body)
		if r.code != c.code {
			t.Errorf("%s: %d %s", c.name, r.code, r.body)
			continue
		}
		if c.account != "" && r.flow().Account != c.account {
			t.Errorf("%s: account %s", c.name, r.flow().Account)
		}
	}
	id := s.get("/api/flows/a").flow().ID
	s.as(shopToken).get("/api/flows/"+id).failed(404, "NotFoundError")
	s.as(shopToken).send("DELETE", "/api/flows/"+id, nil).failed(404, "NotFoundError")
	s.as(readerToken).send("DELETE", "/api/flows/"+id, nil).failed(403, "ForbiddenError", "only read")
	if names, _ := s.as(shopToken).get("/api/flows").page(); len(names) != 1 {
		t.Errorf("the shop sees %v", names)
	}
	if f := s.as(shopToken).get("/api/flows/a").flow(); f.Account != "shop" {
		t.Errorf("the shop's a is of %s", f.Account)
	}
}
