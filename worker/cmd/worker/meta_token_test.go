package main

import (
	"os"
	"strings"
	"testing"
	"time"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/flow"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/flowtoken"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/graph"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/graph/graphtest"
)

// The edge refuses a token for another flow than the one it knows: the token may
// only name what the edge calls it.
func TestTheTokenNamesTheFlowAsTheEdgeDoes(t *testing.T) {
	s, env := metaSite(t)
	env["FLOW_TOKEN_SECRET"] = "geheim"
	const note = "note: the token is good for any flow"
	dir := folder(t, map[string]string{"book.json": asking, "survey/flow.json": asking, "survey/logic.yaml": "screens: {}"})
	well(t, env, "meta", "flows", "push", dir, "book", "--endpoint", "https://flows.example.com/flows/book")
	well(t, env, "meta", "flows", "push", dir, "survey", "--endpoint", "https://flows.example.com/flows/endpoint/feedback")
	for _, name := range []string{"book", "survey"} {
		s.Change(s.FlowNamed(name).ID, func(f *graphtest.Flow) { f.Status, f.Versions = graph.Published, [][]byte{f.JSON} })
	}
	hash := func(rules string) string {
		_, hash, err := flow.EncodeDocument([]byte(asking), []byte(rules))
		if err != nil {
			t.Fatal(err)
		}
		return hash
	}
	for _, c := range []struct {
		name          string
		args          []string
		flow, version string
	}{
		{"a path of the operator's own", []string{"book"}, "", ""},
		{"a path of the operator's own, with the folder", []string{"book", "--dir", dir}, "book", hash("")},
		{"our path", []string{"feedback"}, "feedback", ""},
		{"our path, under Meta's name", []string{"survey"}, "feedback", ""},
		{"our path, with a folder of another name", []string{"survey", "--dir", dir}, "feedback", hash("screens: {}")},
	} {
		out := well(t, env, append([]string{"meta", "send", "--to", "+49 151 12345678"}, c.args...)...)
		all := s.Messages()
		claims, err := flowtoken.Verify([][]byte{[]byte("geheim")}, all[len(all)-1].Token, time.Now())
		if err != nil || claims.Flow != c.flow || claims.Version != c.version || claims.User != "4915112345678" {
			t.Errorf("%s: %+v, %v", c.name, claims, err)
		}
		if strings.Contains(out, note) != (c.flow == "") {
			t.Errorf("%s: %s", c.name, out)
		}
	}
	// Accounts may share a secret, but not their tokens.
	env["META_WABA_ID"], env["META_PHONE_NUMBER_ID"] = "shop="+env["META_WABA_ID"], "shop="+env["META_PHONE_NUMBER_ID"]
	well(t, env, "meta", "send", "book", "--to", "+4915112345678", "--account", "shop")
	sent := s.Messages()
	if claims, err := flowtoken.Verify([][]byte{[]byte("geheim")}, sent[len(sent)-1].Token, time.Now()); err != nil || claims.Account != "shop" {
		t.Errorf("%+v, %v", claims, err)
	}
	// Of a logic that cannot be read no version is claimed.
	if err := os.WriteFile(dir+"/survey/logic.json", []byte("{}"), 0o600); err != nil {
		t.Fatal(err)
	}
	well(t, env, "meta", "send", "survey", "--to", "+4915112345678", "--dir", dir, "--account", "shop")
	all := s.Messages()
	if claims, err := flowtoken.Verify([][]byte{[]byte("geheim")}, all[len(all)-1].Token, time.Now()); err != nil || claims.Version != "" {
		t.Errorf("%+v, %v", claims, err)
	}
}

func TestSendByALockFileWhoseFlowIsGone(t *testing.T) {
	_, env := metaSite(t)
	dir := folder(t, map[string]string{"survey/flow.json": goodFlow})
	write(t, `{"version":1,"waba_id":"`+metaAccount+`","flows":{"survey":{"id":"123","name":"survey"}}}`, dir, "meta.production.lock")
	fails(t, env, "there is no such object", "meta", "send", "survey", "--to", "+4915112345678", "--dir", dir)
}

// A dry run says what would be sent, and so what would not.
func TestADryRunOfASendRefusesWhatSendingWould(t *testing.T) {
	s, env := metaSite(t)
	s.AddFlow(metaAccount, graphtest.Flow{Name: "greeting", Status: graph.Published, JSON: []byte(greeting)})
	for _, c := range []struct{ want, to, data string }{
		{"neither a phone number", "12", `{"greeting":"x"}`},
		{"begins with 0", "0049 151 12345678", `{"greeting":"x"}`},
		{"leave it out", "+49 (0) 151 12345678", `{"greeting":"x"}`},
		{"data.greeting: expected string, got number", "+4915112345678", `{"greeting":1}`},
		{"null", "+4915112345678", `{"greeting":null}`},
	} {
		for _, dry := range [][]string{{"--dry-run"}, {}} {
			fails(t, env, c.want, append([]string{"meta", "send", "greeting", "--to", c.to, "--data", c.data}, dry...)...)
		}
	}
	if n := len(s.Messages()); n != 0 {
		t.Errorf("%d messages were sent", n)
	}
}
