package webhook_test

import (
	"encoding/json"
	"slices"
	"testing"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/webhook"
)

func TestReadMessagesAgreesWithReadElements(t *testing.T) {
	in := func(value string) string { return `{"entry":[{"changes":[{"value":` + value + `}]}]}` }
	for name, body := range map[string]string{
		"messages, then statuses":      in(`{"statuses":[{"id":"s"}],"messages":[{"id":"a"}, {"id":"b"}]}`),
		"an element that is null":      in(`{"messages":[null,{"id":"a"}]}`),
		"an element that is no object": in(`{"messages":["x",{"id":"a"}]}`),
		"a value of another kind":      `{"entry":[{"changes":[{"value":7},{"value":{"messages":[{"id":"a"}]}}]}]}`,
		"no list":                      in(`{"messages":{"id":"a"},"statuses":[{"id":"s"}]}`),
		"an odd field beside a null":   in(`{"messages":[null,{"id":7},{"id":"a"}]}`),
		"no JSON":                      `{`,
		"nothing":                      `{}`,
	} {
		t.Run(name, func(t *testing.T) {
			got, want := webhook.ReadMessages([]byte(body)), webhook.ReadElements([]byte(body)).Messages
			if !slices.EqualFunc(got, want, func(a, b json.RawMessage) bool { return string(a) == string(b) }) {
				t.Errorf("got %s, want %s", got, want)
			}
		})
	}
}
