package servers

import (
	"context"
	"io"
	"net"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/harness/process"
)

func TestServersKeepTheirDataAndLeaveNothing(t *testing.T) {
	ctx := t.Context()
	stack, err := Start(ctx, Options{Private: true, Durable: true, Say: io.Discard})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = stack.Close() })

	sqlDo(t, stack.DatabaseURL, "CREATE TABLE kept (n int)")
	redisDo(t, stack.RedisURL, "SET kept 1", "+OK")

	t.Run("killed servers come back with what was acknowledged", func(t *testing.T) {
		sqlDo(t, stack.DatabaseURL, "INSERT INTO kept VALUES (1)")
		for _, server := range []*Server{stack.Postgres, stack.Redis} {
			before := server.instance.pids()
			if err := server.Kill(); err != nil {
				t.Fatal(err)
			}
			wantGone(t, before)
			if err := server.Restart(ctx); err != nil {
				t.Fatal(err)
			}
		}
		if got := sqlDo(t, stack.DatabaseURL, "SELECT n FROM kept"); got != "SELECT 1" {
			t.Errorf("after the restart: %s, want one row", got)
		}
		redisDo(t, stack.RedisURL, "GET kept", "$1")
	})
	t.Run("stopped servers do not answer", func(t *testing.T) {
		if err := stack.Redis.Stop(); err != nil {
			t.Fatal(err)
		}
		if conn, err := net.Dial("tcp", strings.TrimPrefix(stack.RedisURL, "redis://")); err == nil {
			conn.Close()
			t.Error("a stopped Redis still accepts connections")
		}
		if err := stack.Redis.Restart(ctx); err != nil {
			t.Fatal(err)
		}
		redisDo(t, stack.RedisURL, "GET kept", "$1")
	})
	t.Run("Redis restarted empty knows nothing", func(t *testing.T) {
		if err := stack.Redis.RestartEmpty(ctx); err != nil {
			t.Fatal(err)
		}
		redisDo(t, stack.RedisURL, "GET kept", "$-1")
	})
	t.Run("closing leaves no process and no directory", func(t *testing.T) {
		pids := append(stack.Postgres.instance.pids(), stack.Redis.instance.pids()...)
		dirs := []string{stack.Postgres.instance.(*postgres).dir, stack.Redis.instance.(*redisServer).dir}
		if err := stack.Close(); err != nil {
			t.Fatal(err)
		}
		wantGone(t, pids)
		for _, dir := range dirs {
			if _, err := os.Stat(dir); !os.IsNotExist(err) {
				t.Errorf("%s is still there (%v)", dir, err)
			}
		}
		if err := stack.Close(); err != nil {
			t.Errorf("closing again: %v", err)
		}
	})
}

func TestGivenServersAreUsedAsTheyAre(t *testing.T) {
	t.Setenv("DATABASE_URL", "postgres://db.example/x")
	t.Setenv("REDIS_URL", "redis://cache.example")
	stack, err := Start(t.Context(), Options{})
	if err != nil {
		t.Fatal(err)
	}
	if stack.Postgres != nil || stack.Redis != nil {
		t.Error("a server was started beside the given one")
	}
	want := []string{"DATABASE_URL=postgres://db.example/x", "REDIS_URL=redis://cache.example"}
	if !slices.Equal(stack.Env(), want) {
		t.Errorf("environment %q, want %q", stack.Env(), want)
	}
	if err := stack.Close(); err != nil {
		t.Error(err)
	}
}

func TestNothingToStartIsOneSentence(t *testing.T) {
	t.Setenv("DATABASE_URL", "")
	t.Setenv("REDIS_URL", "")
	t.Setenv("PATH", t.TempDir()) // no redis-server, no apt-get, no docker
	_, err := Start(t.Context(), Options{Say: io.Discard})
	if err == nil {
		t.Fatal("started from nothing")
	}
	if strings.Contains(err.Error(), "\n") || !strings.Contains(err.Error(), "apt-get install postgresql redis-server") {
		t.Errorf("want one sentence that says what to install, got: %v", err)
	}
}

func sqlDo(t *testing.T, url, sql string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(ctx)
	tag, err := conn.Exec(ctx, sql)
	if err != nil {
		t.Fatal(err)
	}
	return tag.String()
}

// redisDo sends one inline command and wants the first line of its answer.
func redisDo(t *testing.T, url, command, want string) {
	t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(url, "redis://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(5 * time.Second))
	if _, err := conn.Write([]byte(command + "\r\n")); err != nil {
		t.Fatal(err)
	}
	answer := make([]byte, 512)
	n, err := conn.Read(answer)
	if err != nil {
		t.Fatal(err)
	}
	if first, _, _ := strings.Cut(string(answer[:n]), "\r\n"); first != want {
		t.Errorf("%s: %q, want %q", command, first, want)
	}
}

func wantGone(t *testing.T, pids []int) {
	t.Helper()
	if len(pids) == 0 {
		t.Fatal("no processes to look for")
	}
	for _, pid := range pids {
		if !process.AwaitEnd(pid, 5*time.Second) {
			t.Fatalf("process %d is still there", pid)
		}
	}
}
