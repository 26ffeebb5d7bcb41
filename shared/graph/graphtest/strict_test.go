package graphtest_test

import (
	"io"
	"net/http"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/graph"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/graph/graphtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// What a careless client does, the server refuses, and says why.
func TestTheServerIsStrict(t *testing.T) {
	s := graphtest.New()
	t.Cleanup(s.Close)
	s.AddAccount("1")
	s.AddNumber("1", graph.Number{ID: "2"})
	s.AddApp("3", "Shop", "secret", "verify")
	s.AddToken("EAAtoken", graphtest.Token{AppID: "3"})
	flow := s.AddFlow("1", graphtest.Flow{Name: "survey", JSON: []byte(`{"version":"7.3","data_api_version":"4.0"}`), Errors: nil})
	const form, object = "application/x-www-form-urlencoded", "application/json"
	message := func(parameters string) string {
		return `{"messaging_product":"whatsapp","recipient_type":"individual","to":"491511234567","type":"interactive","interactive":{"type":"flow","body":{"text":"b"},"action":{"name":"flow","parameters":{` + parameters + `}}}}`
	}
	template := func(components string) string {
		return `{"messaging_product":"whatsapp","recipient_type":"individual","to":"491511234567","type":"template","template":{"name":"ask","language":{"code":"de"},"components":[` + components + `]}}`
	}
	for _, c := range []struct {
		name, method, path, kind, body string
		token                          string // "-": none
		status                         int
		says                           string
	}{
		{"no token", "GET", "v25.0/1/flows", "", "", "-", 401, `"code":104`},
		{"a token in the URL", "GET", "v25.0/1/flows?access_token=EAAtoken", "", "", "", 400, "must come in the header"},
		{"another version", "GET", "v18.0/1/flows", "", "", "", 400, "2635"},
		{"an id of nothing", "GET", "v25.0/99", "", "", "", 400, `"error_subcode":33`},
		{"a method that is not there", "POST", "v25.0/1/phone_numbers", "", "", "", 400, `"error_subcode":33`},
		{"a field that is not there", "GET", "v25.0/1/flows?fields=id,data_channel_uri", "", "", "", 400, "nonexisting field (data_channel_uri)"},
		{"a parameter that is not there", "GET", "v25.0/1/flows?field=id", "", "", "", 400, "unexpected parameter field"},
		{"a key as JSON", "POST", "v25.0/2/whatsapp_business_encryption", object, `{"business_public_key":"x"}`, "", 400, "expected \\\"application/x-www-form-urlencoded"},
		{"a key that is none", "POST", "v25.0/2/whatsapp_business_encryption", form, "business_public_key=AAAA", "", 400, "valid 2048-bit RSA public key"},
		{"a flow as a form", "POST", "v25.0/1/flows", form, "name=x&categories=OTHER", "", 400, "expected \\\"application/json"},
		{"a flow without a category", "POST", "v25.0/1/flows", object, `{"name":"x"}`, "", 400, "are required"},
		{"a category that is none", "POST", "v25.0/1/flows", object, `{"name":"x","categories":["FUN"]}`, "", 400, "must be one of"},
		{"a clone with a Flow JSON", "POST", "v25.0/1/flows", object, `{"name":"x","categories":["OTHER"],"clone_flow_id":"` + flow + `","flow_json":"{}"}`, "", 400, "exclude each other"},
		{"a Flow JSON as JSON", "POST", "v25.0/" + flow + "/assets", object, `{}`, "", 400, "expected \\\"multipart/form-data"},
		{"an endpoint over http", "POST", "v25.0/" + flow, object, `{"endpoint_uri":"http://flows.example.com"}`, "", 400, "Invalid Endpoint URI"},
		{"an app that is none", "POST", "v25.0/" + flow, object, `{"application_id":"99"}`, "", 400, "application_id"},
		{"metadata that is none", "POST", "v25.0/" + flow, object, `{"data_channel_uri":"https://x"}`, "", 400, "unknown field"},
		{"a flow with errors published", "POST", "v25.0/" + flow + "/publish", "", "", "", 400, "139002"},
		{"a draft deprecated", "POST", "v25.0/" + flow + "/deprecate", "", "", "", 400, "139003"},
		{"an app's fields with another token", "GET", "v25.0/3/subscriptions", "", "", "", 400, `"code":15`},
		{"a wrong app secret", "GET", "v25.0/3/subscriptions", "", "", "3|guessed", 400, `"code":190`},
		{"fields that are none", "POST", "v25.0/3/subscriptions", form, "object=whatsapp_business_account&fields=everything", "3|secret", 400, "Param fields"},
		{"a message version as a number", "POST", "v25.0/2/messages", object, message(`"flow_message_version":3`), "", 400, "cannot unmarshal number"},
		{"a draft as published", "POST", "v25.0/2/messages", object, message(`"flow_message_version":"3","flow_id":"` + flow + `","flow_cta":"c","mode":"published","flow_action":"navigate"`), "", 400, "the flow is DRAFT"},
		{"data with data_exchange", "POST", "v25.0/2/messages", object, message(`"flow_message_version":"3","flow_id":"` + flow + `","flow_cta":"c","mode":"draft","flow_action":"data_exchange","flow_action_payload":{"screen":"A"}`), "", 400, "must not be given"},
		{"a template's button without an index", "POST", "v25.0/2/messages", object, template(`{"type":"button","sub_type":"flow","parameters":[{"type":"action","action":{"flow_token":"t"}}]}`), "", 400, "132012"},
		{"a template's index in words", "POST", "v25.0/2/messages", object, template(`{"type":"button","sub_type":"flow","index":"first","parameters":[{"type":"action","action":{"flow_token":"t"}}]}`), "", 400, "132012"},
		{"a template's index as a number", "POST", "v25.0/2/messages", object, template(`{"type":"button","sub_type":"flow","index":0,"parameters":[]}`), "", 400, "cannot unmarshal number"},
		{"a template's token in another place", "POST", "v25.0/2/messages", object, template(`{"type":"button","sub_type":"flow","index":"0","parameters":[{"type":"payload","flow_token":"t"}]}`), "", 400, "unknown field"},
		{"a recipient of letters", "POST", "v25.0/2/messages", object, strings.Replace(message(`"flow_message_version":"3"`), "491511234567", "+49 151", 1), "", 400, "no phone number"},
	} {
		request, err := http.NewRequestWithContext(t.Context(), c.method, s.URL()+"/"+c.path, strings.NewReader(c.body))
		if err != nil {
			t.Fatal(err)
		}
		switch c.token {
		case "":
			request.Header.Set("Authorization", "Bearer EAAtoken")
		case "-":
		default:
			request.Header.Set("Authorization", "Bearer "+c.token)
		}
		if c.kind != "" {
			request.Header.Set("Content-Type", c.kind)
		}
		response, err := s.HTTP().Do(request)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(response.Body)
		response.Body.Close() //nolint:errcheck // only read
		if err != nil || response.StatusCode != c.status || !strings.Contains(string(body), c.says) {
			t.Errorf("%s: %d %s, %v, expected %d and %s", c.name, response.StatusCode, body, err, c.status, c.says)
		}
	}
}
