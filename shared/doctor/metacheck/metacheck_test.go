package metacheck_test

import (
	"crypto/rand"
	"crypto/rsa"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/doctor"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/doctor/metacheck"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/flowcrypto"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/flowjson/validate"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/graph"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/graph/graphtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	waba      = "102290129340398"
	number    = "106540352242922"
	app       = "670843887433847"
	appSecret = "0f1e2d3c4b5a69788796a5b4c3d2e1f0"
	token     = "EAAJB0123456789abcdefghijklmnop"
	flowID    = "600000000000777"
	site      = "https://flows.example.com"
)

var keys = sync.OnceValue(func() (all []*rsa.PublicKey) {
	for range 3 {
		key, err := rsa.GenerateKey(rand.Reader, 2048)
		if err != nil {
			panic(err)
		}
		all = append(all, &key.PublicKey)
	}
	return all
})

func readFile(t *testing.T, path string) []byte {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// meta is Meta's side, all in order.
func meta(t *testing.T, flowJSON []byte) *graphtest.Server {
	s := graphtest.New()
	t.Cleanup(s.Close)
	s.AddApp(app, "Forms", appSecret, "verify")
	s.AddToken(token, graphtest.Token{AppID: app})
	s.AddToken(graph.AppToken(app, appSecret), graphtest.Token{AppID: app})
	s.AddAccount(waba)
	s.AddNumber(waba, graph.Number{ID: number})
	s.SetKey(number, graph.PublicKey{PEM: string(flowcrypto.PublicPEM(keys()[0])), Signature: graph.SignatureValid})
	s.SetSubscription(app, graph.Subscription{Object: graph.AccountObject, CallbackURL: site + "/webhooks/whatsapp", Active: true, Fields: []string{"messages", "flows"}})
	client, err := graph.New(graph.Config{HTTP: s.HTTP(), URL: s.URL(), Token: token})
	if err != nil {
		t.Fatal(err)
	}
	if err := client.SubscribeApp(t.Context(), waba); err != nil {
		t.Fatal(err)
	}
	s.AddFlow(waba, graphtest.Flow{ID: flowID, Name: "Book a table", Status: graph.Published, JSON: flowJSON, EndpointURI: site + "/flows/endpoint/book", ApplicationID: app})
	return s
}

const (
	flowName = "meta: flow Book a table"
	keyName  = "meta: number " + number + ": key"
)

// Each case breaks one thing at Meta; every finding that is not named stays fine.
func TestEachFaultAtMetaIsFoundAndNoOther(t *testing.T) {
	flowJSON := readFile(t, "../../../examples/appointment-booking/flow.json")
	draft := func(f *graphtest.Flow) { f.Status = graph.Draft }
	no := false
	for _, c := range []struct {
		name   string
		breaks func(*graphtest.Server, *metacheck.Config)
		want   map[string]string // finding → status, a space, and what its evidence holds
	}{
		{"nothing", nil, nil},
		{"the token is revoked", func(s *graphtest.Server, _ *metacheck.Config) {
			s.AddToken(token, graphtest.Token{AppID: app, Invalid: true})
		}, map[string]string{metacheck.Token: "fail ", "meta: everything else": "skipped "}},
		{"the token may not send", func(s *graphtest.Server, _ *metacheck.Config) {
			s.AddToken(token, graphtest.Token{AppID: app, Scopes: []string{graph.ScopeManagement}})
		}, map[string]string{metacheck.Scopes: "fail it lacks " + graph.ScopeMessaging, keyName: "fail "}},
		{"the token is for another business account", func(s *graphtest.Server, _ *metacheck.Config) {
			s.AddToken(token, graphtest.Token{AppID: app, Accounts: []string{"1"}})
		}, map[string]string{metacheck.Scopes: "fail is not granted for", "meta: account " + waba + ": webhooks": "fail ", "meta: account " + waba + ": health": "fail ",
			"meta: account " + waba + ": phone numbers": "fail ", "meta: account " + waba + ": flows": "fail "}},
		{"the token ends in a week", func(s *graphtest.Server, _ *metacheck.Config) {
			s.AddToken(token, graphtest.Token{AppID: app, Expires: time.Now().Add(7 * 24 * time.Hour).Unix()})
		}, map[string]string{metacheck.Expiry: "warn in 6 days"}},
		{"the token ends tomorrow", func(s *graphtest.Server, _ *metacheck.Config) {
			s.AddToken(token, graphtest.Token{AppID: app, Expires: time.Now().Add(24 * time.Hour).Unix()})
		}, map[string]string{metacheck.Expiry: "fail it ends at "}},
		{"the rate limit is near", func(s *graphtest.Server, _ *metacheck.Config) {
			s.Header = http.Header{"X-App-Usage": {`{"call_count":93,"total_time":1,"total_cputime":1}`}}
		}, map[string]string{metacheck.Limits: "warn 93 %"}},
		{"another app gets the webhooks", func(s *graphtest.Server, _ *metacheck.Config) {
			s.AddApp("1", "Other", "x", "y")
			s.AddToken(token, graphtest.Token{AppID: "1"})
			s.AddToken(graph.AppToken("1", appSecret), graphtest.Token{AppID: "1"})
		}, map[string]string{"meta: account " + waba + ": webhooks": "fail not to the token's app 1", "meta: app 1: fields": "fail ", flowName + ": application": "warn the token is of the app 1"}},
		{"the field flows is forgotten", func(s *graphtest.Server, _ *metacheck.Config) {
			s.SetSubscription(app, graph.Subscription{Object: graph.AccountObject, CallbackURL: site + "/webhooks/whatsapp", Active: true, Fields: []string{"messages"}})
		}, map[string]string{"meta: app " + app + ": fields": "fail missing: flows"}},
		{"the subscription is not active", func(s *graphtest.Server, _ *metacheck.Config) {
			s.SetSubscription(app, graph.Subscription{Object: graph.AccountObject, CallbackURL: site + "/webhooks/whatsapp", Fields: []string{"messages", "flows"}})
		}, map[string]string{"meta: app " + app + ": fields": "fail not active"}},
		{"webhooks go elsewhere", func(s *graphtest.Server, _ *metacheck.Config) {
			s.SetSubscription(app, graph.Subscription{Object: graph.AccountObject, CallbackURL: "https://old.example.com/", Active: true, Fields: []string{"messages", "flows"}})
		}, map[string]string{"meta: app " + app + ": fields": "warn expected " + site}},
		{"the app secret is another app's", func(_ *graphtest.Server, c *metacheck.Config) {
			c.Accounts[0].AppSecrets = [][]byte{[]byte("ffffffffffffffffffffffffffffffff")}
		}, map[string]string{"meta: app " + app + ": fields": "fail "}},
		{"no key is registered", func(s *graphtest.Server, _ *metacheck.Config) { s.SetKey(number, graph.PublicKey{}) },
			map[string]string{keyName: "fail no public key"}},
		{"another key is registered", func(s *graphtest.Server, _ *metacheck.Config) {
			s.SetKey(number, graph.PublicKey{PEM: string(flowcrypto.PublicPEM(keys()[2])), Signature: graph.SignatureValid})
		}, map[string]string{keyName: "fail not a key of the edge"}},
		{"the old key is registered", func(s *graphtest.Server, _ *metacheck.Config) {
			s.SetKey(number, graph.PublicKey{PEM: string(flowcrypto.PublicPEM(keys()[1])), Signature: graph.SignatureValid})
		}, map[string]string{keyName: "warn key 2 of the edge"}},
		{"the number was registered anew", func(s *graphtest.Server, _ *metacheck.Config) {
			s.SetKey(number, graph.PublicKey{PEM: string(flowcrypto.PublicPEM(keys()[0])), Signature: graph.SignatureMismatch})
		}, map[string]string{keyName: "fail MISMATCH"}},
		{"a number is not verified", func(s *graphtest.Server, _ *metacheck.Config) {
			const other = "106540352242923"
			s.AddNumber(waba, graph.Number{ID: other, Verification: "NOT_VERIFIED"})
			s.SetKey(other, s.Key(number))
		}, map[string]string{"meta: number 106540352242923: state": "warn NOT_VERIFIED"}},
		{"a number is blocked", func(s *graphtest.Server, _ *metacheck.Config) {
			s.SetHealth(number, graph.Health{CanSend: graph.HealthBlocked, Entities: []graph.Entity{{Type: "PHONE_NUMBER", ID: number, CanSend: graph.HealthBlocked,
				Errors: []graph.HealthError{{Code: 141000, Description: "display name is missing", Solution: "set one"}}}}})
		}, map[string]string{"meta: number " + number + ": health": "fail display name is missing"}},
		{"the business account is limited", func(s *graphtest.Server, _ *metacheck.Config) {
			s.SetHealth(waba, graph.Health{CanSend: graph.Limited})
		}, map[string]string{"meta: account " + waba + ": health": "warn LIMITED"}},
		{"a flow is throttled", func(s *graphtest.Server, _ *metacheck.Config) {
			s.Change(flowID, func(f *graphtest.Flow) { f.Status = graph.Throttled })
		}, map[string]string{flowName + ": status": "fail THROTTLED"}},
		{"a flow is blocked", func(s *graphtest.Server, _ *metacheck.Config) {
			s.Change(flowID, func(f *graphtest.Flow) { f.Status = graph.Blocked })
		}, map[string]string{flowName + ": status": "fail BLOCKED"}},
		{"a flow's health is bad", func(s *graphtest.Server, _ *metacheck.Config) {
			s.SetHealth(flowID, graph.Health{CanSend: graph.HealthBlocked})
		}, map[string]string{flowName + ": health": "fail BLOCKED"}},
		{"no endpoint is set", func(s *graphtest.Server, _ *metacheck.Config) {
			s.Change(flowID, func(f *graphtest.Flow) { f.EndpointURI, f.Name = "", "book" })
		}, map[string]string{"meta: flow book: endpoint": "fail none is set"}},
		{"the endpoint is another site", func(s *graphtest.Server, _ *metacheck.Config) {
			s.Change(flowID, func(f *graphtest.Flow) { f.EndpointURI = "https://old.example.com/flows/endpoint/book" })
		}, map[string]string{flowName + ": endpoint": "fail another site"}},
		{"the endpoint has another path", func(s *graphtest.Server, _ *metacheck.Config) {
			s.Change(flowID, func(f *graphtest.Flow) { f.EndpointURI = site + "/flow/book" })
		}, map[string]string{flowName + ": endpoint": "warn another path"}},
		{"no app is linked", func(s *graphtest.Server, _ *metacheck.Config) {
			s.Change(flowID, func(f *graphtest.Flow) { f.ApplicationID = "" })
		}, map[string]string{flowName + ": application": "fail no app"}},
		{"the Flow JSON is another", func(_ *graphtest.Server, c *metacheck.Config) {
			c.Accounts[0].Flows["book"] = []byte(strings.Replace(string(flowJSON), `"7.`, `"6.`, 1))
		}, map[string]string{flowName + ": Flow JSON": "fail another"}},
		{"the Flow JSON is only written otherwise", func(_ *graphtest.Server, c *metacheck.Config) {
			c.Accounts[0].Flows["book"] = []byte(strings.ReplaceAll(string(flowJSON), "\n", " \n"))
		}, nil},
		{"the edge does not have the flow", func(_ *graphtest.Server, c *metacheck.Config) { clear(c.Accounts[0].Flows) },
			map[string]string{flowName + ": Flow JSON": "fail the edge serves no such flow"}},
		{"Meta finds mistakes", func(s *graphtest.Server, _ *metacheck.Config) {
			s.Change(flowID, func(f *graphtest.Flow) {
				f.Errors = []validate.Problem{{Error: "INVALID_PROPERTY_VALUE", Message: "x"}}
			})
		}, map[string]string{flowName + ": validation": "fail 1 errors, the first: INVALID_PROPERTY_VALUE"}},
		{"a draft that can be published", func(s *graphtest.Server, _ *metacheck.Config) { s.Change(flowID, draft) }, nil},
		{"a draft of a frozen version", func(s *graphtest.Server, c *metacheck.Config) {
			old := []byte(`{"version":"4.0","data_api_version":"3.0","screens":[],"routing_model":{}}`)
			s.Change(flowID, func(f *graphtest.Flow) { draft(f); f.JSON = old })
			c.Accounts[0].Flows["book"] = old
		}, map[string]string{flowName + ": version": "warn frozen since 8 April 2025", flowName + ": publishing": "fail missing: a version that is not frozen"}},
		{"a draft whose endpoint is silent", func(s *graphtest.Server, c *metacheck.Config) {
			s.Change(flowID, draft)
			c.PingAnswered = &no
		}, map[string]string{flowName + ": publishing": "fail missing: an endpoint that answers the health check"}},
		{"a draft without a signed key", func(s *graphtest.Server, _ *metacheck.Config) {
			s.Change(flowID, draft)
			s.SetKey(number, graph.PublicKey{})
		}, map[string]string{keyName: "fail no public key", flowName + ": publishing": "fail missing: a verified phone number"}},
		{"a draft without an app", func(s *graphtest.Server, _ *metacheck.Config) {
			s.Change(flowID, func(f *graphtest.Flow) { draft(f); f.ApplicationID = "" })
		}, map[string]string{flowName + ": application": "fail no app", flowName + ": publishing": "fail missing: a linked app"}},
		{"a draft without an endpoint", func(s *graphtest.Server, _ *metacheck.Config) {
			s.Change(flowID, func(f *graphtest.Flow) { draft(f); f.EndpointURI, f.Name = "", "book" })
		}, map[string]string{"meta: flow book: endpoint": "fail none is set", "meta: flow book: publishing": "fail missing: an endpoint URI"}},
		{"a draft with mistakes", func(s *graphtest.Server, _ *metacheck.Config) {
			s.Change(flowID, func(f *graphtest.Flow) { draft(f); f.Errors = []validate.Problem{{Error: "INVALID_PROPERTY"}} })
		}, map[string]string{flowName + ": validation": "fail 1 errors", flowName + ": publishing": "fail missing: a Flow JSON without errors"}},
		{"a draft without the field flows", func(s *graphtest.Server, _ *metacheck.Config) {
			s.Change(flowID, draft)
			s.SetSubscription(app, graph.Subscription{Object: graph.AccountObject, CallbackURL: site + "/webhooks/whatsapp", Active: true, Fields: []string{"messages"}})
		}, map[string]string{"meta: app " + app + ": fields": "fail missing: flows", flowName + ": publishing": "fail missing: webhooks"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := meta(t, flowJSON)
			yes := true
			client := func(token string) (*graph.Client, error) {
				return graph.New(graph.Config{HTTP: s.HTTP(), URL: s.URL(), Token: token, Tries: 1})
			}
			config := metacheck.Config{As: client, Now: time.Now, Site: site, Webhook: site + "/webhooks/whatsapp", PingAnswered: &yes, Accounts: []metacheck.Account{{
				Name: "default", WABAs: []string{waba}, AppSecrets: [][]byte{[]byte(appSecret)},
				Fingerprints: []string{flowcrypto.Fingerprint(keys()[0]), flowcrypto.Fingerprint(keys()[1])},
				Flows:        map[string][]byte{"book": flowJSON}, EndpointPath: func(flow string) string { return "/flows/endpoint/" + flow },
			}}}
			var err error
			if config.Client, err = client(token); err != nil {
				t.Fatal(err)
			}
			if c.breaks != nil {
				c.breaks(s, &config)
			}
			before := len(s.Writes())
			report := doctor.Examine(t.Context(), metacheck.Check(config))
			if writes := s.Writes()[before:]; len(writes) > 0 {
				t.Errorf("it changed something: %v", writes)
			}
			compare(t, report, c.want)
		})
	}
}

func compare(t *testing.T, report doctor.Report, want map[string]string) {
	t.Helper()
	var seen []string
	for _, f := range report.Findings {
		seen = append(seen, f.Name)
		status, evidence := "ok", ""
		if expected, named := want[f.Name]; named {
			status, evidence, _ = strings.Cut(expected, " ")
		}
		// Only the header of a case tells a rate limit.
		if f.Name == metacheck.Limits && f.Status == doctor.Skipped {
			continue
		}
		if string(f.Status) != status || !strings.Contains(f.Evidence, evidence) {
			t.Errorf("%+v, want %s with %q", f, status, evidence)
		}
		if (f.Status == doctor.Fail || f.Status == doctor.Warn) && (f.Meaning == "" || f.Fix == "") {
			t.Errorf("%+v has no meaning or fix", f)
		}
		if text := f.Evidence + f.Meaning + f.Fix; strings.Contains(text, appSecret) || strings.Contains(text, token) {
			t.Errorf("%+v shows a secret", f)
		}
	}
	for name := range want {
		if !slices.Contains(seen, name) {
			t.Errorf("nothing is said of %s; there are %q", name, seen)
		}
	}
}
