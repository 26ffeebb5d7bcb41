package e2e

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/harness/site"
)

func TestAnIndependentImplementationAgrees(t *testing.T) {
	t.Parallel()
	node, err := exec.LookPath("node")
	if err != nil {
		t.Fatal("Node is not here: install it (Debian, Ubuntu: sudo apt-get install nodejs); it is the second implementation that ours is compared with")
	}
	s := start(t, site.Options{})
	der, err := x509.MarshalPKIXPublicKey(&s.Secrets.PrivateKey.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	peer := exec.CommandContext(t.Context(), node, filepath.Join("testdata", "peer.mjs"))
	peer.Env = []string{
		"PATH=" + os.Getenv("PATH"), "EDGE_URL=" + s.EdgeURL, "APP_SECRET=" + s.Secrets.AppSecret,
		"PUBLIC_KEY=" + string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})),
		"FLOW=csat-feedback", "TOKEN=from-node",
	}
	var stdout, stderr bytes.Buffer
	peer.Stdout, peer.Stderr = &stdout, &stderr
	if err := peer.Run(); err != nil {
		t.Fatalf("%v\n%s%s", err, &stdout, &stderr)
	}
	if lines := strings.Count(stdout.String(), "\n"); lines != 5 {
		t.Errorf("%d replies, want 5:\n%s", lines, &stdout)
	}
}
