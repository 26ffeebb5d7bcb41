package caddymodule

import (
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/redis/go-redis/v9"
	"go.uber.org/goleak"
)

var redisURLOfTheTest = os.Getenv("REDIS_URL")

// TestMain checks that everything this module starts also ends: clients close
// after their grace, with the goroutines of their store.
func TestMain(m *testing.M) {
	closeGrace = 200 * time.Millisecond
	before := []goleak.Option{
		goleak.IgnoreCurrent(),
		// certmagic touches the lock file of its storage every 5 s, and ends then.
		goleak.IgnoreAnyFunction("github.com/caddyserver/certmagic.keepLockfileFresh"),
	}
	code := m.Run()
	_ = caddy.Stop()
	if code == 0 {
		leaked := goleak.Find(before...)
		for deadline := time.Now().Add(10 * time.Second); leaked != nil && time.Now().Before(deadline); {
			leaked = goleak.Find(before...) // waits a little by itself
		}
		if leaked != nil {
			fmt.Fprintln(os.Stderr, leaked)
			code = 1
		}
	}
	code = doctorProof.Exit(code, "doctor*.go")
	// The last marks of closing clients come after their test.
	if options, err := redis.ParseURL(redisURLOfTheTest); err == nil {
		client := redis.NewClient(options)
		forget(client, testPrefix)
		_ = client.Close()
	}
	os.Exit(code)
}
