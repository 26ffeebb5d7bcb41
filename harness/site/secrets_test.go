package site

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/flowcrypto"
)

func TestThrowAwaySecretsAreAWholeSet(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "secrets")
	s, err := WriteSecrets(dir)
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(dir, "flow.pub"))
	if err != nil {
		t.Fatal(err)
	}
	if public, err := flowcrypto.ReadPublicKey(text); err != nil || !public.Equal(&s.PrivateKey.PublicKey) {
		t.Errorf("flow.pub is not the key's: %v", err)
	}
}

func TestSecretsThatAreThereAreNotReplaced(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "secrets")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	real := filepath.Join(dir, "api_token")
	if err := os.WriteFile(real, []byte("real"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := WriteSecrets(dir); err == nil || !strings.Contains(err.Error(), real) || !strings.Contains(err.Error(), "rm -r "+dir) {
		t.Errorf("the error is %v, want the file and what to do", err)
	}
	entries, err := os.ReadDir(dir)
	if content, _ := os.ReadFile(real); err != nil || len(entries) != 1 || string(content) != "real" {
		t.Errorf("%d files, api_token %q, %v; want what was there", len(entries), content, err)
	}
}
