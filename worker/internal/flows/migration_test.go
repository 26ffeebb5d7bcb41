package flows

import (
	"testing"

	"github.com/google/uuid"
	"go.uber.org/goleak"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/worker/internal/store"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/worker/internal/testkit"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// What the first release stored is kept, and called by the version that it
// declares.
func TestFlowsOfTheFirstSchemaAreKept(t *testing.T) {
	t.Parallel()
	pool := testkit.Database(t)
	for {
		undone, err := store.Down(t.Context(), pool)
		if err != nil {
			t.Fatal(err)
		}
		if undone.Version == 2 {
			break
		}
	}
	documents := map[string]string{
		"plain": `{ "version" : "7.3", "screens": [] }`, "byte-order-mark": "\ufeff{\"version\":\"7.2\"}",
		"without": `{"screens":[]}`, "no-json": `{"version":`, "no-active-version": "",
	}
	for name, document := range documents {
		id, version := uuid.New(), 1
		if document == "" {
			version = 0
		}
		if _, err := pool.Exec(t.Context(), `INSERT INTO flows (id, name, version) VALUES ($1, $2, $3)`, id, name, version); err != nil {
			t.Fatal(err)
		}
		if _, err := pool.Exec(t.Context(), `INSERT INTO flow_versions (flow_id, version, definition, flow_json) VALUES ($1, 1, 'hash', $2)`, id, []byte(document)); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := store.Up(t.Context(), pool); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"plain": "7.3", "byte-order-mark": "7.2", "without": "", "no-json": "", "no-active-version": ""} {
		f, err := Get(t.Context(), pool, Key{Account: "default", Name: name})
		if err != nil {
			t.Fatal(err)
		}
		label := ""
		if f.Label != nil {
			label = *f.Label
		}
		if label != want || f.Revision != 1 || f.Latest != 1 {
			t.Errorf("%s: %+v, want the version %q", name, f, want)
		}
	}
}
