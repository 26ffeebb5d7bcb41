package main

import (
	"bytes"
	"context"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"

	"go.uber.org/goleak"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/setting"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/worker/internal/testkit"
)

// asProgram makes the test binary the program itself, for tests about processes.
const asProgram = "WORKER_TEST_AS_PROGRAM"

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) != "" {
		main()
	}
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) { os.Exit(doctorProof.Exit(code, "doctor.go")) }))
}

// output is written by the process and read by the test at the same time.
type output struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.String()
}

// command is one run of the program with an environment of its own.
type command struct {
	stdout, stderr output
	process        *process
}

func newCommand(ctx context.Context, env map[string]string) *command {
	c := &command{}
	c.process = &process{ctx: ctx, stdout: &c.stdout, stderr: &c.stderr, source: setting.Source{
		LookupEnv: func(name string) (string, bool) { v, ok := env[name]; return v, ok },
		ReadFile:  os.ReadFile,
	}}
	return c
}

// execute runs a command to its end and returns what it printed.
func execute(t *testing.T, env map[string]string, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	c := newCommand(t.Context(), env)
	code = run(c.process, args)
	return code, c.stdout.String(), c.stderr.String()
}

func must(t *testing.T, env map[string]string, args ...string) string {
	t.Helper()
	code, stdout, stderr := execute(t, env, args...)
	if code != 0 || stderr != "" {
		t.Fatalf("worker %s: exit code %d: %s", strings.Join(args, " "), code, stderr)
	}
	return stdout
}

func TestMistakesAreOneSentenceAndExitCode1(t *testing.T) {
	nowhere := map[string]string{"DATABASE_URL": "postgres://u:geheim@127.0.0.1:1/x", "REDIS_URL": "redis://127.0.0.1:1"}
	noDatabase := map[string]string{"REDIS_URL": "redis://127.0.0.1:1"}
	for _, c := range []struct {
		name string
		env  map[string]string
		args []string
		want string
	}{
		{"no command", nil, nil, "expected one of"},
		{"no command, and where to look", nil, nil, "see `worker --help`"},
		{"no such command", nil, []string{"nope"}, "unexpected argument nope: see `worker --help`"},
		{"no command of a group", nil, []string{"callbacks"}, "see `worker callbacks --help`"},
		{"an unknown flag", nil, []string{"serve", "--fast"}, "unknown flag --fast: see `worker serve --help`"},
		{"serve without an environment", nil, []string{"serve"}, "neither DATABASE_URL nor DB_HOST is set"},
		{"serve with a bad callback", map[string]string{"DATABASE_URL": "postgres://db", "REDIS_URL": "redis://c", "CALLBACK_TIMEOUT": "x"}, []string{"serve"}, "CALLBACK_TIMEOUT"},
		{"migrate without a database", noDatabase, []string{"migrate", "up"}, "neither DATABASE_URL nor DB_HOST is set"},
		{"migrate with a database that is away", nowhere, []string{"migrate", "status"}, "connecting to Postgres"},
		{"flows of a directory that is not there", nowhere, []string{"flows", "load", "/nowhere"}, "/nowhere"},
		{"flows of an empty directory", nowhere, []string{"flows", "load", t.TempDir()}, "holds no flow"},
		{"flows for a strange account", nowhere, []string{"flows", "load", t.TempDir(), "--account", "a/b"}, "--account is"},
	} {
		t.Run(c.name, func(t *testing.T) {
			code, _, stderr := execute(t, c.env, c.args...)
			if code != 1 || !strings.Contains(stderr, c.want) {
				t.Errorf("exit code %d, %q; want 1 and %q", code, stderr, c.want)
			}
			if strings.Count(stderr, "\n") != 1 || strings.Contains(stderr, "goroutine") || strings.Contains(stderr, "geheim") {
				t.Errorf("not one clean sentence: %q", stderr)
			}
		})
	}
}

func TestHelpAndVersion(t *testing.T) {
	if out := must(t, nil, "--help"); !strings.Contains(out, "flows load") || !strings.Contains(out, "callbacks secret") {
		t.Errorf("help = %s", out)
	}
	if out := must(t, nil, "version"); strings.TrimSpace(out) == "" {
		t.Error("no version")
	}
	if out := must(t, nil, "callbacks", "secret", "--new"); !strings.HasPrefix(out, "whsec_") {
		t.Errorf("secret = %q", out)
	}
}

func TestMigrateUpDownAndStatus(t *testing.T) {
	env := map[string]string{"DATABASE_URL": testkit.EmptyDatabaseURL(t)}
	if out := must(t, env, "migrate", "status"); !regexp.MustCompile(`(?m)^00001_initial\.sql +pending$`).MatchString(out) {
		t.Errorf("status = %s", out)
	}
	if code, _, stderr := execute(t, env, "callbacks", "secret"); code != 1 || !strings.Contains(stderr, "worker migrate up") {
		t.Errorf("secret of an empty database: %d %s", code, stderr)
	}
	dir := folder(t, map[string]string{"hello.json": goodFlow})
	env["REDIS_URL"] = "redis://127.0.0.1:1"
	for _, args := range [][]string{
		{"callbacks", "list"}, {"callbacks", "add", "crm", "https://crm.example.com"}, {"flows", "load", dir}, {"deliveries", "list"},
		{"deliveries", "replay", "--endpoint", "crm"}, {"dead", "list"}, {"dead", "requeue", "--all"},
	} {
		if code, _, stderr := execute(t, env, args...); code != 1 || !strings.Contains(stderr, "run `worker migrate up`") || strings.Contains(stderr, "SQLSTATE") {
			t.Errorf("%s of an empty database: %d %s", strings.Join(args, " "), code, stderr)
		}
	}
	if out := must(t, env, "migrate", "up"); !strings.Contains(out, "applied 00001_initial.sql") {
		t.Errorf("up = %s", out)
	}
	if out := must(t, env, "migrate", "up"); out != "the database is up to date\n" {
		t.Errorf("second up = %s", out)
	}
	secret := must(t, env, "callbacks", "secret")
	if again := must(t, env, "callbacks", "secret"); again != secret || !strings.HasPrefix(secret, "whsec_") {
		t.Errorf("secrets %q and %q", secret, again)
	}
	if out := must(t, env, "migrate", "status"); !strings.Contains(out, "applied 2") {
		t.Errorf("status = %s", out)
	}
	code, stdout, stderr := execute(t, env, "migrate", "down")
	if code != 1 || stdout != "" || !strings.Contains(stderr, ".sql would be taken back") || !strings.Contains(stderr, "nothing was taken back: yes was not typed") {
		t.Errorf("down without an answer: %d, %q, %s", code, stdout, stderr)
	}
	if again := must(t, env, "callbacks", "secret"); again != secret {
		t.Error("down without an answer took the data")
	}
	code, stdout, stderr = typed(t, env, "yes\n", "migrate", "down")
	if code != 0 || !strings.HasPrefix(stdout, "took back ") || strings.Contains(stderr, "worker:") {
		t.Errorf("down with yes: %d, %q, %s", code, stdout, stderr)
	}
	for {
		out := must(t, env, "migrate", "down", "--yes")
		if out == "no migration is applied\n" {
			break
		}
		if !strings.HasPrefix(out, "took back ") {
			t.Fatalf("down = %s", out)
		}
	}
	if out := must(t, env, "migrate", "down"); out != "no migration is applied\n" {
		t.Errorf("down of nothing = %s", out)
	}
}

func TestADatabaseThatDoesNotExistIsToBeCreated(t *testing.T) {
	elsewhere, err := url.Parse(testkit.EmptyDatabaseURL(t))
	if err != nil {
		t.Fatal(err)
	}
	elsewhere.Path = "/waf_there_is_no_such_database"
	env := map[string]string{"DATABASE_URL": elsewhere.String()}
	if code, _, stderr := execute(t, env, "migrate", "up"); code != 1 || !strings.HasSuffix(stderr, "create it: createdb waf_there_is_no_such_database\n") {
		t.Errorf("%d, %s", code, stderr)
	}
}

func TestFlowsLoadSaysWhatItDid(t *testing.T) {
	client, keys, prefix := testkit.Redis(t, 16)
	env := map[string]string{"DATABASE_URL": testkit.EmptyDatabaseURL(t), "REDIS_URL": testkit.RedisURL(t), "REDIS_PREFIX": prefix}
	must(t, env, "migrate", "up")
	dir := t.TempDir()
	example, err := os.ReadFile(filepath.Join("..", "..", "internal", "publish", "testdata", "one-screen.json"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "hello.json"), example, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ account, want string }{
		{"default", `^default/hello: stored as version 1, definition [0-9a-f]{12}\n(  warning: .*\n)*published\n$`},
		{"default", `^default/hello: unchanged, version 1, definition [0-9a-f]{12}\n(  warning: .*\n)*published\n$`},
		{"shop", `^shop/hello: stored as version 1, `},
	} {
		if out := must(t, env, "flows", "load", dir, "--account", c.account); !regexp.MustCompile(c.want).MatchString(out) {
			t.Errorf("output = %q, want %s", out, c.want)
		}
	}
	index, err := client.HGetAll(t.Context(), keys.Index()).Result()
	if err != nil || len(index) != 2 || index["default/hello"] == "" || index["shop/hello"] != index["default/hello"] {
		t.Errorf("index = %v, %v", index, err)
	}

	env["REDIS_URL"] = "redis://127.0.0.1:1"
	if code, stdout, stderr := execute(t, env, "flows", "load", dir); code != 1 || !strings.Contains(stdout, "unchanged") ||
		!strings.Contains(stderr, "stored but not published") || strings.Count(stderr, "\n") != 1 {
		t.Errorf("without Redis: %d %s %s", code, stdout, stderr)
	}
}
