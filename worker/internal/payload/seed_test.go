package payload

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/google/uuid"
)

func TestBodyIsTheSeedsJSON(t *testing.T) {
	at := time.Date(2026, 11, 23, 12, 0, 0, 7_900_000, time.FixedZone("", 3600))
	flowID := uuid.MustParse("01a20978-302d-7d9a-b7bb-52d8ccf9b832")
	text := func(s string) *string { return &s }
	for _, c := range []struct {
		name string
		a    answer
		want string
	}{
		{
			"everything known",
			answer{flowToken: text("t-1"), flowID: &flowID, phoneNumber: text("5511999999999"),
				userID: text("BR.1"), response: []byte(`{"score": 9, "flow_token":"t-1"}`)},
			`{"event_type":"flow_completed","flow_token":"t-1","flow_id":"01a20978-302d-7d9a-b7bb-52d8ccf9b832",` +
				`"phone_number":"5511999999999","response_data":{"score": 9, "flow_token":"t-1"},"timestamp":"2026-11-23T11:00:00.007Z"}`,
		},
		{
			"a user with no phone number, and nothing else known",
			answer{userID: text("BR.1"), response: []byte(`{}`)},
			`{"event_type":"flow_completed","flow_token":null,"flow_id":null,"phone_number":null,"user_id":"BR.1",` +
				`"response_data":{},"timestamp":"2026-11-23T11:00:00.007Z"}`,
		},
		{
			"HTML is left alone",
			answer{flowToken: text("<a&b>"), response: []byte(`{"x":"<é&\u003e"}`)},
			`{"event_type":"flow_completed","flow_token":"<a&b>","flow_id":null,"phone_number":null,` +
				`"response_data":{"x":"<é&\u003e"},"timestamp":"2026-11-23T11:00:00.007Z"}`,
		},
		{
			"an answer that is no JSON",
			answer{raw: []byte(`not "JSON"`)},
			`{"event_type":"flow_completed","flow_token":null,"flow_id":null,"phone_number":null,` +
				`"response_data":{"raw":"not \"JSON\""},"timestamp":"2026-11-23T11:00:00.007Z"}`,
		},
		{
			"an answer that is JSON but no object",
			answer{response: []byte(`[1,2]`), raw: []byte(`[1, 2]`)},
			`{"event_type":"flow_completed","flow_token":null,"flow_id":null,"phone_number":null,` +
				`"response_data":{"raw":"[1, 2]"},"timestamp":"2026-11-23T11:00:00.007Z"}`,
		},
		{
			"bytes that are no text",
			answer{raw: []byte("\xff")},
			`{"event_type":"flow_completed","flow_token":null,"flow_id":null,"phone_number":null,` +
				`"response_data":{"raw":"\ufffd"},"timestamp":"2026-11-23T11:00:00.007Z"}`,
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := seed(c.a, at)
			if string(got) != c.want {
				t.Errorf("body =\n%s\nwant\n%s", got, c.want)
			}
			if !json.Valid(got) {
				t.Error("not valid JSON")
			}
		})
	}
}
