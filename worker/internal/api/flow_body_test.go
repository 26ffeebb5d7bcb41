package api

import (
	"encoding/json"
	"testing"
)

func FuzzFlowBody(f *testing.F) {
	for _, seed := range []string{
		`{"name":"a","flowJson":{"version":"7.3"},"logic":"init: {}","status":"active","description":null}`,
		"\ufeff{\"flow_json\":\"\\ufeff{}\"}", `{"flowJson":1e2}`, `[]`, ``,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		var body flowBody
		if body.readBody(text) != nil {
			return
		}
		document, rules, err := body.content()
		if err != nil {
			return
		}
		if n := body.fields["flowJson"]; n.Text == "" && !json.Valid(document) {
			t.Fatalf("%q is no JSON", document)
		}
		if len(rules) == 0 && rules != nil {
			t.Fatal("logic that is there and empty")
		}
	})
}
