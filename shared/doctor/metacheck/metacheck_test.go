package metacheck_test

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"io"
	"maps"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/doctor"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/doctor/doctortest"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/doctor/metacheck"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/flowcrypto"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/flowjson/validate"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/graph"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/graph/graphtest"
)

var proof = doctortest.Proof{Secrets: []string{appSecret, token}}

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) { os.Exit(proof.Exit(code, "*.go")) }))
}

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

// edited is a client of the server that reads old in its answers as new.
func edited(s *graphtest.Server, old, new string) *http.Client {
	through := s.HTTP().Transport
	return &http.Client{Transport: roundTripper(func(r *http.Request) (*http.Response, error) {
		response, err := through.RoundTrip(r)
		if err != nil {
			return nil, err
		}
		defer response.Body.Close() //nolint:errcheck // only read
		body, err := io.ReadAll(response.Body)
		response.Body = io.NopCloser(strings.NewReader(strings.Replace(string(body), old, new, 1)))
		return response, err
	})}
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// secondNumber is one beside the one in order, so that a flow can be published.
const secondNumber = "106540352242923"

func second(s *graphtest.Server, n graph.Number) {
	n.ID = secondNumber
	s.AddNumber(waba, n)
	s.SetKey(n.ID, s.Key(number))
}

const (
	flowName = "meta: flow Book a table"
	keyName  = "meta: number " + number + ": key"
)

// Each case breaks one thing at Meta; every finding that is not named stays fine.
func TestEachFaultAtMetaIsFoundAndNoOther(t *testing.T) {
	flowJSON := readFile(t, "../../../examples/appointment-booking/flow.json")
	draft := func(f *graphtest.Flow) { f.Status = graph.Draft }
	static := []byte(`{"version":"7.3","screens":[{"id":"END","title":"x","terminal":true,"layout":{"type":"SingleColumnLayout","children":[{"type":"Footer","label":"x","on-click-action":{"name":"complete","payload":{}}}]}}]}`)
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
		{"the token has no use any more", func(s *graphtest.Server, c *metacheck.Config) {
			c.Client, _ = graph.New(graph.Config{HTTP: edited(s, `"is_valid":true`, `"is_valid":false,"error":{"code":190,"message":"The user has been removed"}`), URL: s.URL(), Token: token, Tries: 1})
		}, map[string]string{metacheck.Token: "fail Meta says that it is not valid: The user has been removed", "meta: everything else": "skipped "}},
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
			s.SetSubscription(app, graph.Subscription{Object: graph.AccountObject, CallbackURL: "https://u:" + token + "@old.example.com/?key=" + token, Active: true, Fields: []string{"messages", "flows"}})
		}, map[string]string{"meta: app " + app + ": fields": "warn to https://old.example.com/, expected " + site}},
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
			second(s, graph.Number{Verification: "NOT_VERIFIED"})
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
			c.Accounts[0].PingAnswered = &no
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
		{"the network is down", func(_ *graphtest.Server, c *metacheck.Config) {
			c.Client, _ = graph.New(graph.Config{HTTP: http.DefaultClient, URL: "http://127.0.0.1:1", Token: token, Tries: 1})
		}, map[string]string{metacheck.Token: "fail connection refused", "meta: everything else": "skipped "}},
		{"an id of an account that nobody has", func(_ *graphtest.Server, c *metacheck.Config) {
			c.Strays = metacheck.Strays("META_WABA_ID", map[string][]string{"default": {waba}, "shop": {"1"}}, func(name string) bool { return name == "default" })
		}, map[string]string{metacheck.Accounts: "warn META_WABA_ID shop=1"}},
		{"no ids", func(_ *graphtest.Server, c *metacheck.Config) { c.Accounts = nil },
			map[string]string{metacheck.Accounts: "skipped META_WABA_ID"}},
		{"no id of an account", func(_ *graphtest.Server, c *metacheck.Config) { c.Accounts[0].WABAs = nil },
			map[string]string{"meta: account default": "skipped META_WABA_ID"}},
		{"only a number", func(_ *graphtest.Server, c *metacheck.Config) {
			c.Accounts[0].WABAs, c.Accounts[0].Numbers = nil, []string{number}
		}, map[string]string{"meta: number " + number + ": state": "skipped not in"}},
		{"no app is subscribed", func(s *graphtest.Server, c *metacheck.Config) {
			const other = "102290129340399"
			s.AddAccount(other)
			s.AddNumber(other, graph.Number{ID: "106540352242924"})
			s.SetKey("106540352242924", s.Key(number))
			c.Accounts[0].WABAs = []string{other}
		}, map[string]string{"meta: account 102290129340399: webhooks": "fail no app is subscribed", "meta: account 102290129340399: flows": "skipped none"}},
		{"the app is subscribed to nothing", func(s *graphtest.Server, _ *metacheck.Config) {
			s.SetSubscription(app, graph.Subscription{Object: "page", CallbackURL: site, Active: true})
		}, map[string]string{"meta: app " + app + ": fields": "fail no subscription to"}},
		{"the app secret is not known", func(_ *graphtest.Server, c *metacheck.Config) { c.Accounts[0].AppSecrets = nil },
			map[string]string{"meta: app " + app + ": fields": "skipped "}},
		{"an account without a number", func(s *graphtest.Server, c *metacheck.Config) {
			const other = "102290129340399"
			s.AddAccount(other)
			client, err := graph.New(graph.Config{HTTP: s.HTTP(), URL: s.URL(), Token: token})
			if err == nil {
				err = client.SubscribeApp(context.Background(), other)
			}
			if err != nil {
				panic(err)
			}
			c.Accounts[0].WABAs = []string{other}
		}, map[string]string{"meta: account 102290129340399: phone numbers": "fail none", "meta: account 102290129340399: flows": "skipped none"}},
		{"what is registered is no key", func(s *graphtest.Server, _ *metacheck.Config) {
			s.SetKey(number, graph.PublicKey{PEM: "-----BEGIN CERTIFICATE-----", Signature: graph.SignatureValid})
		}, map[string]string{keyName: "fail what is no public key"}},
		{"a key without a status", func(s *graphtest.Server, _ *metacheck.Config) {
			s.SetKey(number, graph.PublicKey{PEM: string(flowcrypto.PublicPEM(keys()[0]))})
		}, map[string]string{keyName: "warn without a signature status"}},
		{"the edge's keys are not known", func(_ *graphtest.Server, c *metacheck.Config) { c.Accounts[0].Fingerprints = nil },
			map[string]string{keyName: "ok VALID; the edge's keys are not known here"}},
		{"a number is not connected", func(s *graphtest.Server, _ *metacheck.Config) { second(s, graph.Number{Status: "DISCONNECTED"}) },
			map[string]string{"meta: number " + secondNumber + ": state": "warn DISCONNECTED"}},
		{"a number that users report", func(s *graphtest.Server, _ *metacheck.Config) { second(s, graph.Number{Quality: "RED"}) },
			map[string]string{"meta: number " + secondNumber + ": state": "warn quality RED"}},
		{"the endpoint is plain http", func(s *graphtest.Server, _ *metacheck.Config) {
			s.Change(flowID, func(f *graphtest.Flow) { f.EndpointURI = "http://flows.example.com/flows/endpoint/book" })
		}, map[string]string{flowName + ": endpoint": "fail no https URL"}},
		{"where the edge is reached is not known", func(_ *graphtest.Server, c *metacheck.Config) { c.Accounts[0].Site = "" },
			map[string]string{flowName + ": endpoint": "skipped give --url"}},
		{"what the edge serves is not known", func(_ *graphtest.Server, c *metacheck.Config) { c.Accounts[0].Flows = nil },
			map[string]string{flowName + ": Flow JSON": "skipped "}},
		{"a deprecated flow", func(s *graphtest.Server, _ *metacheck.Config) {
			s.Change(flowID, func(f *graphtest.Flow) { f.Status = graph.Deprecated })
		}, map[string]string{"meta: account " + waba + ": flows": "skipped none but deprecated ones"}},
		{"a draft with the old key and webhooks elsewhere, which Meta publishes", func(s *graphtest.Server, _ *metacheck.Config) {
			s.Change(flowID, draft)
			s.SetKey(number, graph.PublicKey{PEM: string(flowcrypto.PublicPEM(keys()[1])), Signature: graph.SignatureValid})
			s.SetSubscription(app, graph.Subscription{Object: graph.AccountObject, CallbackURL: "https://old.example.com/", Active: true, Fields: []string{"messages", "flows"}})
		}, map[string]string{keyName: "warn key 2", "meta: app " + app + ": fields": "warn expected", flowName + ": publishing": "ok all"}},
		{"a draft of which not all can be seen", func(s *graphtest.Server, c *metacheck.Config) {
			s.Change(flowID, draft)
			a := &c.Accounts[0]
			a.AppSecrets, a.Fingerprints, a.PingAnswered, a.Site = nil, nil, nil, ""
		}, map[string]string{"meta: app " + app + ": fields": "skipped ", flowName + ": endpoint": "skipped ",
			flowName + ": publishing": "skipped not known here: whether the number's key is one of the edge; whether its endpoint leads here; whether the endpoint answers the health check; whether flows is among"}},
		{"a draft that asks no endpoint", func(s *graphtest.Server, c *metacheck.Config) {
			s.Change(flowID, func(f *graphtest.Flow) { draft(f); f.JSON, f.EndpointURI, f.ApplicationID = static, "", "" })
			s.SetKey(number, graph.PublicKey{})
			clear(c.Accounts[0].Flows)
		}, map[string]string{keyName: "fail no public key", flowName + ": endpoint": "skipped it asks no endpoint", flowName + ": Flow JSON": "skipped ", flowName + ": publishing": "ok "}},
		{"a draft without a Flow JSON", func(s *graphtest.Server, c *metacheck.Config) {
			s.Change(flowID, func(f *graphtest.Flow) { draft(f); f.JSON, f.EndpointURI = nil, "" })
			clear(c.Accounts[0].Flows)
		}, map[string]string{flowName + ": version": "skipped no Flow JSON yet", flowName + ": endpoint": "skipped ", flowName + ": Flow JSON": "skipped ",
			flowName + ": publishing": "fail missing: a Flow JSON without errors"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := meta(t, flowJSON)
			yes := true
			client := func(token string) (*graph.Client, error) {
				return graph.New(graph.Config{HTTP: s.HTTP(), URL: s.URL(), Token: token, Tries: 1})
			}
			config := metacheck.Config{As: client, Now: time.Now, Accounts: []metacheck.Account{{
				Name: "default", Site: site, Webhook: site + "/webhooks/whatsapp", PingAnswered: &yes, WABAs: []string{waba}, AppSecrets: [][]byte{[]byte(appSecret)},
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
			want := maps.Clone(c.want)
			if want == nil {
				want = map[string]string{}
			}
			// Only the header of a case tells a rate limit, and nothing does when the
			// token is not taken.
			if want[metacheck.Limits] == "" && want[metacheck.Token] == "" {
				want[metacheck.Limits] = "skipped Meta's answers tell none"
			}
			proof.Compare(t, report, want)
		})
	}
}
