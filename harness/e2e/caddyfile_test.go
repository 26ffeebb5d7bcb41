package e2e

import (
	"bytes"
	"path/filepath"
	"slices"
	"testing"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/harness/servers"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/harness/site"
)

func TestShippedCaddyfile(t *testing.T) {
	t.Parallel()
	s := install(t, site.Options{})
	caddyfile := filepath.Join(root, "Caddyfile")

	t.Run("is formatted as caddy fmt does", func(t *testing.T) {
		out, err := s.EdgeCommand("fmt", caddyfile).Output()
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(out, readFile(t, "Caddyfile")) {
			t.Error("run make fmt")
		}
	})
	t.Run("loads without a network", func(t *testing.T) {
		port, err := servers.FreePort()
		if err != nil {
			t.Fatal(err)
		}
		validate := s.EdgeCommand("validate", "--config", caddyfile)
		validate.Env = append(validate.Env, "REDIS_URL="+servers.RedisURL(port)) // nothing listens there
		if out, err := validate.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
	})
	t.Run("listens where SITE_BIND says, or everywhere", func(t *testing.T) {
		for bind, want := range map[string]string{"": `":443"`, "127.0.0.1": `"127.0.0.1:443"`, "127.0.0.1 ::1": `"127.0.0.1:443","[::1]:443"`} {
			adapt := s.EdgeCommand("adapt", "--config", caddyfile)
			adapt.Env = append(adapt.Env, "SITE_ADDRESS=localhost", "HTTPS_PORT=443", "SITE_BIND="+bind)
			out, err := adapt.Output()
			if err != nil || !bytes.Contains(out, []byte(`"listen":[`+want+`]`)) {
				t.Errorf("SITE_BIND=%q: %v, want %s in\n%s", bind, err, want, out)
			}
		}
		if !slices.Contains(s.EdgeCommand().Env, "SITE_BIND=127.0.0.1") {
			t.Error("the edge of the demo listens on every interface")
		}
	})
	for _, variable := range []string{"META_APP_SECRET_FILE", "META_VERIFY_TOKEN_FILE", "PRIVATE_KEY_FILE"} {
		t.Run("names "+variable+" when it is missing", func(t *testing.T) {
			validate := s.EdgeCommand("validate", "--config", caddyfile)
			validate.Env = append(validate.Env, variable+"=")
			out, err := validate.CombinedOutput()
			if err == nil {
				t.Fatal("it loads all the same")
			}
			if !bytes.Contains(out, []byte(variable)) {
				t.Errorf("the error does not name it:\n%s", out)
			}
		})
	}
}
