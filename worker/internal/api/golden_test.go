package api

import (
	"flag"
	"os"
	"testing"
)

var update = flag.Bool("update", false, "write testdata/openapi.json anew")

// A change of the API is a change of this file: whoever reviews one sees it.
func TestGoldenSpecification(t *testing.T) {
	t.Parallel()
	got := newAPI(Config{Version: "test"}).specification()
	const file = "testdata/openapi.json"
	if *update {
		if err := os.WriteFile(file, got, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != string(want) {
		t.Errorf("the OpenAPI document differs from %s: look at the difference after `go test ./worker/internal/api -run Golden -update`", file)
	}
}
