package e2e

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/harness/site"
)

// The commands of the README's chapter on callbacks and of docs/callbacks.md, as
// they stand there, one after the other.
func TestREADMECallbacks(t *testing.T) {
	t.Parallel()
	s := install(t, site.Options{})
	if err := s.StartWorker(t.Context()); err != nil {
		t.Fatal(err)
	}
	receiver := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Webhook-Id") == "" {
			w.WriteHeader(http.StatusBadRequest)
		}
	}))
	t.Cleanup(receiver.Close)
	dir := checkout(t)
	for _, part := range []struct{ name, text string }{
		{"README.md", between(t, string(readFile(t, "README.md")), "\n## Callbacks\n", "\n## ")},
		{"docs/callbacks.md", string(readFile(t, "docs/callbacks.md"))},
	} {
		commands := indented(part.text)
		if len(commands) < 4 {
			t.Fatalf("%s has %d commands", part.name, len(commands))
		}
		script := []string{"set -euo pipefail"}
		for _, command := range commands {
			script = append(script, "echo '"+strings.ReplaceAll(command, "'", `'\''`)+"'", command)
		}
		run := exec.CommandContext(t.Context(), "bash", "-c", strings.Join(script, "\n"))
		run.Dir = dir
		run.Env = append(os.Environ(), s.WorkerCommand().Env...)
		run.Env = append(run.Env, "HOME="+os.Getenv("HOME"), "RECEIVER="+receiver.URL)
		if out, err := run.CombinedOutput(); err != nil {
			t.Errorf("%s: %v; the last command is the one that failed:\n%s", part.name, err, out)
		}
	}
}

// What docs/callbacks.md shows receivers to copy takes a right signature, also
// beside that of another secret, and nothing else.
func TestDocumentedReceiversVerify(t *testing.T) {
	t.Parallel()
	text := string(readFile(t, "docs/callbacks.md"))
	dir := t.TempDir()
	programs := map[string]string{
		"node": "verify.mjs", "python3": "verify.py",
	}
	for file, content := range map[string]string{
		"verify.mjs": between(t, text, "```js\n", "```") + `
import { readFileSync } from "node:fs";
const c = JSON.parse(readFileSync(0));
console.log(verify(c.secret, c.headers, Buffer.from(c.body)));
`,
		"verify.py": between(t, text, "```python\n", "```") + `
import json, sys
c = json.load(sys.stdin)
print(str(verify(c["secret"], c["headers"], c["body"].encode())).lower())
`,
	} {
		if err := os.WriteFile(filepath.Join(dir, file), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	key := []byte("0123456789abcdef0123456789abcdef")
	secret := "whsec_" + base64.StdEncoding.EncodeToString(key)
	now, old := fmt.Sprint(time.Now().Unix()), fmt.Sprint(time.Now().Add(-time.Hour).Unix())
	sign := func(key []byte, at string) string {
		mac := hmac.New(sha256.New, key)
		mac.Write([]byte("msg_1." + at + `.{"é":1}`))
		return "v1," + base64.StdEncoding.EncodeToString(mac.Sum(nil))
	}
	for interpreter, file := range programs {
		program, err := exec.LookPath(interpreter)
		if err != nil {
			t.Fatalf("%s is not here: install it (Debian, Ubuntu: sudo apt-get install nodejs python3); the documented receivers are run with it", interpreter)
		}
		for _, c := range []struct{ name, at, signatures, body, want string }{
			{"one signature", now, sign(key, now), `{"é":1}`, "true"},
			{"a second one of another secret", now, sign([]byte("another"), now) + " " + sign(key, now), `{"é":1}`, "true"},
			{"another secret only", now, sign([]byte("another"), now), `{"é":1}`, "false"},
			{"a changed body", now, sign(key, now), `{"é":2}`, "false"},
			{"an hour ago", old, sign(key, old), `{"é":1}`, "false"},
			{"another time than was signed", now, sign(key, old), `{"é":1}`, "false"},
		} {
			input, err := json.Marshal(map[string]any{"secret": secret, "body": c.body,
				"headers": map[string]string{"webhook-id": "msg_1", "webhook-timestamp": c.at, "webhook-signature": c.signatures}})
			if err != nil {
				t.Fatal(err)
			}
			run := exec.CommandContext(t.Context(), program, filepath.Join(dir, file))
			run.Stdin = strings.NewReader(string(input))
			if out, err := run.CombinedOutput(); err != nil || strings.TrimSpace(string(out)) != c.want {
				t.Errorf("%s: %s: %v: %s, want %s", file, c.name, err, out, c.want)
			}
		}
	}
}
