package phone_test

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/phone"
)

func TestCompletionWebhookIsMetasBodyByteForByte(t *testing.T) {
	full := phone.Completion{
		WABA: "102290129340398", PhoneNumberID: "106540352242922", DisplayPhone: "15550783881",
		Phone: "16505551234", UserID: "US.13491208655302741918", Name: "Zoë 😀",
		MessageID: "wamid.HBgL", ContextID: "wamid.Q/x", Time: time.Unix(1749416383, 0),
		Params: json.RawMessage(`{"flow_token":"tok-1","name":"Åsa/<b>","quote":"\""}`),
	}
	const want = `{"object":"whatsapp_business_account","entry":[{"id":"102290129340398","changes":[{"value":{"messaging_product":"whatsapp",` +
		`"metadata":{"display_phone_number":"15550783881","phone_number_id":"106540352242922"},` +
		`"contacts":[{"profile":{"name":"Zo\u00eb \ud83d\ude00"},"wa_id":"16505551234","user_id":"US.13491208655302741918"}],` +
		`"messages":[{"context":{"from":"15550783881","id":"wamid.Q\/x"},"from":"16505551234","id":"wamid.HBgL","timestamp":"1749416383","type":"interactive",` +
		`"interactive":{"type":"nfm_reply","nfm_reply":{"name":"flow","body":"Sent","response_json":"{\"flow_token\":\"tok-1\",\"name\":\"\u00c5sa\/<b>\",\"quote\":\"\\\"\"}"}}}]},"field":"messages"}]}]}`
	got := phone.CompletionWebhook(full)
	if string(got) != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}

	var webhook struct {
		Entry []struct {
			Changes []struct {
				Value struct {
					Messages []struct {
						Interactive struct {
							Reply struct {
								Response string `json:"response_json"`
							} `json:"nfm_reply"`
						} `json:"interactive"`
					} `json:"messages"`
				} `json:"value"`
			} `json:"changes"`
		} `json:"entry"`
	}
	if err := json.Unmarshal(got, &webhook); err != nil {
		t.Fatal(err)
	}
	if response := webhook.Entry[0].Changes[0].Value.Messages[0].Interactive.Reply.Response; response != string(full.Params) {
		t.Errorf("response_json is %s, expected %s", response, full.Params)
	}
}

func TestCompletionWebhookOfAUserWithoutNumber(t *testing.T) {
	got := string(phone.CompletionWebhook(phone.Completion{
		WABA: "1", PhoneNumberID: "2", DisplayPhone: "3", UserID: "US.4", MessageID: "wamid.5", Time: time.Unix(6, 0), Params: json.RawMessage(`{}`),
	}))
	const want = `{"object":"whatsapp_business_account","entry":[{"id":"1","changes":[{"value":{"messaging_product":"whatsapp",` +
		`"metadata":{"display_phone_number":"3","phone_number_id":"2"},"contacts":[{"user_id":"US.4"}],` +
		`"messages":[{"id":"wamid.5","timestamp":"6","type":"interactive","interactive":{"type":"nfm_reply","nfm_reply":{"name":"flow","body":"Sent","response_json":"{}"}}}]},"field":"messages"}]}]}`
	if got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}
