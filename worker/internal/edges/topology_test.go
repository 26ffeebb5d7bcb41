package edges

import (
	"fmt"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/keyspace"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/worker/internal/testkit"
)

func TestEdgesInACluster(t *testing.T) {
	o := testkit.StartCluster(t, 3).Options
	client := redis.NewUniversalClient(&o)
	defer client.Close() //nolint:errcheck // the test is over
	for n := range 8 {   // in several slots
		key := keyspace.New(fmt.Sprint("t", n, ":"), 1).Edges()
		value := fmt.Sprintf(`{"seen":%d,"host":"h","pid":1,"version":"v1","private_key_backend":"crypto/rsa","started":"2026-11-23T08:00:00Z"}`, time.Now().UnixMilli())
		if err := client.HSet(t.Context(), key, "edge", value).Err(); err != nil {
			t.Fatal(err)
		}
		if running, err := Running(t.Context(), client, key); err != nil || len(running) != 1 || running[0].ID != "edge" {
			t.Errorf("running = %+v, %v", running, err)
		}
	}
}
