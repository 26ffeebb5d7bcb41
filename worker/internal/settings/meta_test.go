package settings

import (
	"strings"
	"testing"
)

func TestMetaSettings(t *testing.T) {
	src := with(env{"META_ACCESS_TOKEN_FILE": "/run/secrets/token", "file:/run/secrets/token": "EAAgeheim\n", "META_WABA_ID": "1,shop=2", "META_PHONE_NUMBER_ID": "shop=3,shop=4",
		"META_GRAPH_URL": "https://proxy.example.com", "META_GRAPH_VERSION": "v26.0", "META_APP_ID": "9",
		"META_APP_SECRET": "the current one, the old one", "META_VERIFY_TOKEN": "v", "FLOW_TOKEN_SECRET": "\n ,correct horse\nold"}).source()
	m, err := ReadMeta(src, "shop")
	if err != nil || m.Token != "EAAgeheim" || m.URL != "https://proxy.example.com" || m.Version != "v26.0" || m.App != "9" {
		t.Errorf("%+v, %v", m, err)
	}
	if id, err := m.WABA(""); id != "2" || err != nil {
		t.Errorf("%s, %v", id, err)
	}
	if _, err := m.Phone(""); err == nil || !strings.Contains(err.Error(), "META_PHONE_NUMBER_ID holds 3 and 4: say which with --from") {
		t.Error(err)
	}
	if id, err := m.Phone("4"); id != "4" || err != nil {
		t.Errorf("%s, %v", id, err)
	}
	app, err := ReadMetaApp(src)
	if err != nil || app.Secret != "the current one" || app.VerifyToken != "v" {
		t.Errorf("%+v, %v", app, err)
	}
	// As the edge reads it: spaces belong to a secret.
	if secret, err := ReadFlowTokenSecret(src); string(secret) != "correct horse" || err != nil {
		t.Errorf("%q, %v", secret, err)
	}
	if secret, err := ReadFlowTokenSecret(with(env{}).source()); len(secret) != 0 || err != nil {
		t.Errorf("unset: %q, %v", secret, err)
	}
}
