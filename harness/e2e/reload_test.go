package e2e

import (
	"path/filepath"
	"testing"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/harness/site"
)

// The users speak HTTP/2, which says goodbye before it closes a connection. On
// HTTP/1.1 a request can always cross with the closing of its idle connection;
// and a connection that the kernel has queued for a listener at the moment Caddy
// closes it is reset, unless net.ipv4.tcp_migrate_req is 1. Both happen before
// any handler is reached, with every Caddy.
func TestReloadUnderLoadLosesNoRequest(t *testing.T) {
	t.Parallel()
	s := start(t, site.Options{TLS: true})
	users := startLoad(t, s, 4)
	const reloads = 8
	for range reloads {
		// --force: the text of the configuration is the same, but every app,
		// handler and listener is made anew.
		reload := s.EdgeCommand("reload", "--force", "--config", filepath.Join(root, "Caddyfile"), "--address", s.Admin)
		if out, err := reload.CombinedOutput(); err != nil {
			t.Fatalf("caddy reload: %v\n%s", err, out)
		}
	}
	wamids := users.end(t)
	s.readAll(t)
	s.wantStored(t, wamids)
	if err := s.Died(); err != nil {
		t.Error(err)
	}
	t.Logf("%d reloads, %d conversations, none failed", reloads, len(wamids))
}
