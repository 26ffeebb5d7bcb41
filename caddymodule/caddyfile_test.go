package caddymodule

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
)

var update = flag.Bool("update", false, "write what came into the golden files")

// TestCaddyfile adapts each golden file: a Caddyfile, a line of dashes, then the
// JSON it stands for, or the error it is refused with.
func TestCaddyfile(t *testing.T) {
	files, err := filepath.Glob("testdata/*.caddyfiletest")
	if err != nil || len(files) == 0 {
		t.Fatalf("no golden files: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".caddyfiletest"), func(t *testing.T) {
			raw, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			input, want, found := strings.Cut(string(raw), "\n----------\n")
			if !found && !*update {
				t.Fatal("no line of ten dashes")
			}
			var got string
			adapted, _, err := caddyconfig.GetAdapter("caddyfile").Adapt([]byte(input), map[string]any{"filename": "Caddyfile"})
			if err != nil {
				got = err.Error()
			} else {
				var pretty bytes.Buffer
				if err := json.Indent(&pretty, adapted, "", "\t"); err != nil {
					t.Fatal(err)
				}
				got = pretty.String()
			}
			// The endpoint of these tests is no part of the product.
			got = strings.ReplaceAll(got, "engine, next, test", "engine, next")
			if *update {
				if err := os.WriteFile(file, []byte(input+"\n----------\n"+got+"\n"), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if got != strings.TrimSpace(want) {
				t.Errorf("got\n%s\nexpected\n%s", got, want)
			}
		})
	}
}

// FuzzCaddyfile looks for input that makes a parser panic or loop.
func FuzzCaddyfile(f *testing.F) {
	files, err := filepath.Glob("testdata/*.caddyfiletest")
	if err != nil {
		f.Fatal(err)
	}
	for _, file := range files {
		raw, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		input, _, _ := strings.Cut(string(raw), "\n----------\n")
		f.Add(input)
	}
	f.Fuzz(func(t *testing.T, input string) {
		if strings.Contains(input, "import") || strings.Contains(input, "{$") {
			return // reads files or the environment
		}
		for parser, unmarshaler := range map[string]caddyfile.Unmarshaler{
			appID: new(App), flowDirective: new(FlowHandler), webhookDirective: new(WebhookHandler),
		} {
			dispenser := caddyfile.NewTestDispenser(parser + " " + input)
			_ = unmarshaler.UnmarshalCaddyfile(dispenser)
		}
	})
}
