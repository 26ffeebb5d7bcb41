package logic

import (
	"os"
	"testing"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/flowjson"
)

// survey is a flow RECOMMEND → PROMOTER or DETRACTOR → CODE.
func survey(t testing.TB) *flowjson.Document {
	t.Helper()
	raw, err := os.ReadFile("../testdata/survey.json")
	if err != nil {
		t.Fatal(err)
	}
	doc, err := flowjson.Parse(raw)
	if err != nil {
		t.Fatal(err)
	}
	return doc
}

func compile(t testing.TB, text string) (*Rules, error) {
	t.Helper()
	return Compile([]byte(text), survey(t), []string{"RECOMMEND"})
}
