package edges

import (
	"context"
	"fmt"
	"math"
	"reflect"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/worker/internal/testkit"
)

func TestWhichEdgesRun(t *testing.T) {
	client, keys, _ := testkit.Redis(t, 2)
	now, err := client.Time(t.Context()).Result()
	if err != nil {
		t.Fatal(err)
	}
	field := func(seen int64, started string) string {
		return fmt.Sprintf(`{"seen":%d,"host":"h","pid":1,"version":"v1","private_key_backend":"crypto/rsa","started":%q}`, seen, started)
	}
	ago := func(d time.Duration) int64 { return now.Add(-d).UnixMilli() }
	for name, value := range map[string]string{
		"killed a minute ago":  field(ago(time.Minute), "2026-11-23T08:00:00Z"),
		"just announced":       field(ago(0), "2026-11-23T09:00:00Z"),
		"missed it five times": field(ago(50*time.Second), "2026-11-23T08:00:00Z"),
		"a little ahead":       field(ago(-time.Second), "2026-11-23T10:00:00+01:00"),
		"far ahead":            field(ago(-time.Hour), "2026-11-23T08:00:00Z"),
		"ahead of all time":    field(math.MaxInt64, "2026-11-23T08:00:00Z"),
		"unreadable":           "nonsense",
		"empty":                "",
		"no backend":           fmt.Sprintf(`{"seen":%d}`, ago(0)),
		"of another year":      fmt.Sprintf(`{"seen":%d,"private_key_backend":"crypto/rsa","started":"yesterday"}`, ago(0)),
	} {
		if err := client.HSet(t.Context(), keys.Edges(), name, value).Err(); err != nil {
			t.Fatal(err)
		}
	}
	running, err := Running(t.Context(), client, keys.Edges())
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range running {
		names = append(names, e.ID)
		if e.Version != "v1" || e.PrivateKeyBackend != "crypto/rsa" {
			t.Errorf("read %+v", e)
		}
		// A slow machine may need some seconds from the writing to here.
		least := map[string]time.Duration{"missed it five times": 50 * time.Second}[e.ID]
		if e.SeenAgo < least || e.SeenAgo > least+9*time.Second {
			t.Errorf("%s: seen %s ago, expected a little more than %s", e.ID, e.SeenAgo, least)
		}
	}
	if want := []string{"missed it five times", "a little ahead", "just announced"}; !reflect.DeepEqual(names, want) {
		t.Errorf("running are %q, expected %q", names, want)
	}
}

func TestNoEdgeIsAnEmptyList(t *testing.T) {
	client, keys, _ := testkit.Redis(t, 2)
	running, err := Running(t.Context(), client, keys.Edges())
	if err != nil || running == nil || len(running) != 0 {
		t.Errorf("%v, %v; expected an empty list", running, err)
	}
}

func TestEdgesThatCannotBeRead(t *testing.T) {
	client, keys, _ := testkit.Redis(t, 2)
	if err := client.Set(t.Context(), keys.Edges(), "not a hash", 0).Err(); err != nil {
		t.Fatal(err)
	}
	if running, err := Running(t.Context(), client, keys.Edges()); err == nil {
		t.Errorf("a key of another type: %v, expected an error", running)
	}
	away := redis.NewClient(&redis.Options{Addr: "127.0.0.1:1", MaxRetries: -1, DialerRetries: 1})
	defer away.Close() //nolint:errcheck // it never connected
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	if running, err := Running(ctx, away, keys.Edges()); err == nil {
		t.Errorf("no Redis: %v, expected an error", running)
	}
}
