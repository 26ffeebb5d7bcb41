package e2e

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/harness/site"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/flowcrypto"
)

// The README is tried, not believed.

// between is the part of s between two marks.
func between(t *testing.T, s, from, to string) string {
	t.Helper()
	_, rest, found := strings.Cut(s, from)
	part, _, closed := strings.Cut(rest, to)
	if !found || !closed {
		t.Fatalf("no part between %q and %q", from, to)
	}
	return part
}

// varying is what differs from one run of the demo to the next.
var varying = regexp.MustCompile(`[0-9]+(\.[0-9]+)? m?s\b|:[0-9]{4,5}\b|demo-[A-Z2-7]+|DEMO[A-Z2-7]+…?|[0-9a-f]{8}-[0-9a-f-]{27}|[0-9a-f]{12}\b|20[0-9-]+T[0-9:.]+Z|[0-9]+ bytes`)

// sameDemo compares the README's picture of the demo with what it prints now.
func sameDemo(t *testing.T, printed string) {
	t.Helper()
	lines := func(s string) []string {
		var all []string
		for line := range strings.Lines(s) {
			line = varying.ReplaceAllString(line, "~")
			if line = strings.Join(strings.Fields(line), " "); line != "" {
				all = append(all, line)
			}
		}
		return all
	}
	want := lines(between(t, string(readFile(t, "README.md")), "<!-- demo:begin -->", "<!-- demo:end -->"))
	got := lines(printed)
	if !slices.Equal(got, want) {
		t.Errorf("README.md shows another demo than it is. Shown:\n%s\n\nPrinted:\n%s", strings.Join(want, "\n"), strings.Join(got, "\n"))
	}
}

func TestREADMECommands(t *testing.T) {
	t.Parallel()
	readme, makefile := string(readFile(t, "README.md")), string(readFile(t, "Makefile"))

	t.Run("every make target exists", func(t *testing.T) {
		targets := regexp.MustCompile("(?m)(?:^    |`)make ([a-z]+)").FindAllStringSubmatch(readme, -1)
		if len(targets) < 4 {
			t.Fatalf("the README names %d make targets, expected demo, run, test and more", len(targets))
		}
		for _, target := range targets {
			if !strings.Contains(makefile, "\n"+target[1]+":") {
				t.Errorf("make %s: no such target", target[1])
			}
		}
	})

	t.Run("the xcaddy command is the one that make xcaddy runs", func(t *testing.T) {
		words := func(s string) []string { return strings.Fields(strings.ReplaceAll(s, "\\\n", " ")) }
		command := words(between(t, readme, "    GOWORK=off xcaddy build ", "\n\n"))
		variable := func(name string) string {
			return regexp.MustCompile(`(?m)^` + name + `\s*:?= (\S+)`).FindStringSubmatch(makefile)[1]
		}
		rule := strings.NewReplacer("$(MODULE)", variable("MODULE"), "$(CADDY_VERSION)", variable("CADDY_VERSION"),
			"--output $(CURDIR)/$(BIN)/caddy-xcaddy", "").Replace(between(t, makefile, "$(XCADDY_VERSION) build ", "\n\t@"))
		if !slices.Equal(command, words(rule)) {
			t.Errorf("README: %q\nMakefile: %q", command, words(rule))
		}
	})

	t.Run("the key that it makes is one that loads", func(t *testing.T) {
		command := "bin/caddy whatsapp-flows keys create flow.pem --draw-passphrase flow.pass"
		if !strings.Contains(readme, "    "+command+"\n") {
			t.Fatal("the README no longer has this command")
		}
		dir := checkout(t)
		shell(t, dir, command)
		var read [2][]byte
		for i, name := range []string{"flow.pem", "flow.pass"} {
			content, err := os.ReadFile(filepath.Join(dir, name))
			if err != nil {
				t.Fatal(err)
			}
			read[i] = content
		}
		if _, err := flowcrypto.ReadPrivateKey(read[0], read[1]); err != nil {
			t.Error(err)
		}
	})

	t.Run("the key's fingerprint by openssl is the one in the log", func(t *testing.T) {
		secrets, err := site.WriteSecrets(filepath.Join(t.TempDir(), "secrets"))
		if err != nil {
			t.Fatal(err)
		}
		command := "openssl pkey -in flow.pem -pubout -outform DER | openssl dgst -sha256"
		if !strings.Contains(readme, "    "+command+"\n") {
			t.Fatal("the README no longer has this command")
		}
		out := shell(t, secrets.Dir, strings.Replace(command, "-in flow.pem", "-in flow.pem -passin file:flow.pass", 1))
		if want := flowcrypto.Fingerprint(&secrets.PrivateKey.PublicKey); !strings.Contains(out, want) {
			t.Errorf("openssl says %s, we say %s", out, want)
		}
	})

	t.Run("the conversion of an old key gives one that loads", func(t *testing.T) {
		command := "openssl pkcs8 -topk8 -v2 aes-256-cbc -in old.pem -out flow.pem"
		if !strings.Contains(readme, "    "+command+"\n") {
			t.Fatal("the README no longer has this command")
		}
		dir := t.TempDir()
		old, err := os.ReadFile(filepath.Join(root, "shared/flowcrypto/testdata/keys/unsupported_pbes1_sha1_3des.pem"))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "old.pem"), old, 0o600); err != nil {
			t.Fatal(err)
		}
		shell(t, dir, command+" -passin pass:test-pass -passout pass:test-pass")
		converted, err := os.ReadFile(filepath.Join(dir, "flow.pem"))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := flowcrypto.ReadPrivateKey(converted, []byte("test-pass")); err != nil {
			t.Error(err)
		}
	})
}

func shell(t *testing.T, dir, command string) string {
	t.Helper()
	cmd := exec.Command("bash", "-o", "pipefail", "-c", command)
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", command, err, out)
	}
	return string(out)
}

func TestREADMECaddyfile(t *testing.T) {
	t.Parallel()
	secrets, err := site.WriteSecrets(filepath.Join(t.TempDir(), "secrets"))
	if err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string]string{"app_secret_old": "0123456789abcdef", "crm": "a-token"} {
		if err := os.WriteFile(filepath.Join(secrets.Dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	shell(t, secrets.Dir, "openssl genrsa -out flow_old.pem 2048")
	text := between(t, string(readFile(t, "README.md")), "```caddyfile\n", "```")
	path := filepath.Join(t.TempDir(), "Caddyfile")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	caddy := filepath.Join(built, "caddy")
	if formatted, err := exec.Command(caddy, "fmt", path).Output(); err != nil || string(formatted) != text {
		t.Errorf("it is not formatted (%v); caddy fmt makes it:\n%s", err, formatted)
	}
	text = strings.ReplaceAll(text, "/run/secrets", secrets.Dir)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	validate := exec.Command(caddy, "validate", "--config", path)
	home := t.TempDir()
	validate.Env = []string{"HOME=" + home, "XDG_DATA_HOME=" + home, "XDG_CONFIG_HOME=" + home, "REDIS_URL=redis://127.0.0.1:1"}
	if out, err := validate.CombinedOutput(); err != nil {
		t.Errorf("caddy validate: %v\n%s", err, out)
	}
}

// Every variable that the programs read is in the README, and the other way
// round.
func TestREADMEVariables(t *testing.T) {
	t.Parallel()
	table := between(t, string(readFile(t, "README.md")), "## Environment", "\n## ")
	var documented []string
	for line := range strings.Lines(table) {
		cells := strings.SplitN(line, "|", 5)
		if len(cells) < 5 {
			continue
		}
		first := cells[1]
		if strings.Contains(line, "`DATABASE_URL`") || strings.Contains(line, "`LISTEN_ADDR`") {
			first += cells[3] // "or …"
		}
		for _, name := range regexp.MustCompile("`([A-Z][A-Z_]+)`").FindAllStringSubmatch(first, -1) {
			documented = append(documented, name[1])
		}
	}
	// Of the seed's names this one is accepted and read by nothing yet.
	unread := []string{"PUBLIC_KEY"}

	var source bytes.Buffer
	for _, dir := range []string{"caddymodule", "worker"} {
		err := filepath.WalkDir(filepath.Join(root, dir), func(path string, _ os.DirEntry, err error) error {
			if err != nil || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") || strings.Contains(path, "testkit") {
				return err
			}
			content, err := os.ReadFile(path)
			source.Write(content)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	read := regexp.MustCompile(`"((?:REDIS|META|DB|CALLBACK|PRIVATE|DEFAULT|LISTEN|WORKER|LOG|NODE|CORS|DATABASE)_[A-Z_]+|FLOW_(?:ENDPOINT|TOKEN)_[A-Z_]+|API_TOKENS?|PASSPHRASE|HOST|PORT|ENVIRONMENT)"`)
	for _, name := range read.FindAllStringSubmatch(source.String(), -1) {
		if !slices.Contains(documented, name[1]) && name[1] != "WORKER_FAILPOINT" {
			t.Errorf("%s is read but not in the README", name[1])
		}
	}
	caddyfile := string(readFile(t, "Caddyfile"))
	for _, name := range documented {
		if !strings.Contains(source.String(), `"`+name+`"`) && !strings.Contains(caddyfile, "{$"+name+":") && !slices.Contains(unread, name) {
			t.Errorf("%s is in the README but read by nothing", name)
		}
	}
	for _, name := range regexp.MustCompile(`\{\$([A-Z_]+)`).FindAllStringSubmatch(caddyfile, -1) {
		if !slices.Contains(documented, name[1]) {
			t.Errorf("%s is in the Caddyfile but not in the README", name[1])
		}
	}
}
