package e2e

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/harness/servers"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/harness/site"
)

// No Docker engine is needed to see whether docker-compose.yml and
// xcaddy.Dockerfile fit the binaries and each other.

type composeFile struct {
	Services map[string]composeService `yaml:"services"`
	Secrets  map[string]struct {
		File string `yaml:"file"`
	} `yaml:"secrets"`
	Volumes  map[string]any `yaml:"volumes"`
	Networks map[string]any `yaml:"networks"`
}

type composeService struct {
	Image string `yaml:"image"`
	Build struct {
		Dockerfile string `yaml:"dockerfile"`
		Target     string `yaml:"target"`
	} `yaml:"build"`
	User        string            `yaml:"user"`
	Restart     string            `yaml:"restart"`
	Command     []string          `yaml:"command"`
	Environment map[string]string `yaml:"environment"`
	Secrets     []string          `yaml:"secrets"`
	Volumes     []string          `yaml:"volumes"`
	Networks    []string          `yaml:"networks"`
	Ports       []string          `yaml:"ports"`
	Healthcheck struct {
		Test []string `yaml:"test"`
	} `yaml:"healthcheck"`
}

func TestComposeFileFitsTheBinaries(t *testing.T) {
	t.Parallel()
	var compose composeFile
	if err := yaml.Unmarshal(readFile(t, "docker-compose.yml"), &compose); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"edge", "worker", "postgres", "redis"} {
		service, ok := compose.Services[name]
		if !ok {
			t.Fatalf("no service %s", name)
		}
		t.Run(name+" is guarded", func(t *testing.T) {
			if user, _, _ := strings.Cut(service.User, ":"); user == "" || user == "root" || user == "0" {
				t.Errorf("it runs as %q, want a user that is not root", service.User)
			}
			if service.Restart != "on-failure:3" {
				t.Errorf("restart is %q: a wrong setting must not be tried for ever", service.Restart)
			}
			if len(service.Healthcheck.Test) == 0 {
				t.Error("it has no health check")
			}
			if name != "edge" && len(service.Ports) > 0 {
				t.Errorf("it publishes %v; only the edge is public", service.Ports)
			}
		})
		t.Run(name+" takes its secrets from files", func(t *testing.T) {
			for variable, value := range service.Environment {
				path, isSecret := strings.CutPrefix(value, "/run/secrets/")
				if isSecret && !slices.Contains(service.Secrets, path) {
					t.Errorf("%s names %s, which the service is not given", variable, value)
				}
				if isSecret != strings.HasSuffix(variable, "_FILE") {
					t.Errorf("%s is %q: files belong to _FILE variables, and the other way round", variable, value)
				}
				if regexp.MustCompile(`SECRET|PASSWORD|TOKEN|PRIVATE_KEY|PASSPHRASE`).MatchString(variable) && !isSecret {
					t.Errorf("%s is a secret outside of a file", variable)
				}
			}
			for _, secret := range service.Secrets {
				if _, ok := compose.Secrets[secret]; !ok {
					t.Errorf("secret %s is not declared", secret)
				}
			}
		})
		for _, volume := range service.Volumes {
			if volume, _, _ := strings.Cut(volume, ":"); !strings.HasPrefix(volume, ".") {
				if _, ok := compose.Volumes[volume]; !ok {
					t.Errorf("volume %s of %s is not declared", volume, name)
				}
			}
		}
	}

	t.Run("every variable is one that the binary reads", func(t *testing.T) {
		read := map[string]string{
			"edge":   goSource(t, "caddymodule") + string(readFile(t, "Caddyfile")),
			"worker": goSource(t, "worker"),
		}
		for service, source := range read {
			for variable := range compose.Services[service].Environment {
				name := strings.TrimSuffix(variable, "_FILE")
				if !regexp.MustCompile(`["$]` + name + `\b`).MatchString(source) {
					t.Errorf("%s: nothing reads %s", service, name)
				}
			}
		}
	})
	t.Run("make secrets writes every secret", func(t *testing.T) {
		dir := filepath.Join(t.TempDir(), "secrets")
		if _, err := site.WriteSecrets(dir); err != nil {
			t.Fatal(err)
		}
		for name, secret := range compose.Secrets {
			if secret.File != "./secrets/"+name {
				t.Errorf("secret %s is in %s, want ./secrets/%s", name, secret.File, name)
			}
			if info, err := os.Stat(filepath.Join(dir, name)); err != nil || info.Mode().Perm() != 0o444 {
				t.Errorf("secret %s: %v (%v), want a file of mode 0444", name, info, err)
			}
		}
	})
	t.Run("Redis keeps what it acknowledged and evicts nothing", func(t *testing.T) {
		command := strings.Join(compose.Services["redis"].Command, " ")
		for _, want := range []string{"--appendonly yes", "--appendfsync always", "--maxmemory-policy noeviction", "--maxmemory 5"} {
			if !strings.Contains(command, want) {
				t.Errorf("its command line lacks %s: %s", want, command)
			}
		}
	})
	t.Run("servers are those the tests use", func(t *testing.T) {
		for service, image := range map[string]string{"postgres": servers.PostgresImage, "redis": servers.RedisImage} {
			if got := compose.Services[service].Image; got != image {
				t.Errorf("%s runs %s, the harness %s", service, got, image)
			}
		}
	})
	t.Run("images are built from targets that exist", func(t *testing.T) {
		dockerfile := string(readFile(t, "xcaddy.Dockerfile"))
		for _, name := range []string{"edge", "worker"} {
			build := compose.Services[name].Build
			if build.Dockerfile != "xcaddy.Dockerfile" {
				t.Errorf("%s is built from %s", name, build.Dockerfile)
			}
			if !regexp.MustCompile(`(?m)^FROM \S+ AS ` + build.Target + `$`).MatchString(dockerfile) {
				t.Errorf("xcaddy.Dockerfile has no target %q", build.Target)
			}
		}
		uid, _, _ := strings.Cut(compose.Services["edge"].User, ":")
		if !strings.Contains(dockerfile, "USER "+uid+":") || !strings.Contains(dockerfile, "-u "+uid+" ") {
			t.Errorf("the images' user is not %s, which owns /data", uid)
		}
	})
	t.Run("the edge's keys are in libcrypto, of one Debian release when built and run", func(t *testing.T) {
		makefile, dockerfile := string(readFile(t, "Makefile")), string(readFile(t, "xcaddy.Dockerfile"))
		tags := regexp.MustCompile(`LIBCRYPTO_TAGS := (\S+)`).FindStringSubmatch(makefile)
		caddy := regexp.MustCompile(`CADDY_TAGS := (\S+)`).FindStringSubmatch(makefile)
		if tags == nil || caddy == nil || !strings.Contains(dockerfile, "-tags="+caddy[1]+","+tags[1]+`"`) {
			t.Errorf("xcaddy.Dockerfile does not build with the tags of the Makefile, %q and %q", caddy, tags)
		}
		for _, want := range []string{
			"golang:${GO_VERSION}-${DEBIAN_RELEASE} AS build-edge", "FROM debian:${DEBIAN_RELEASE}-slim AS edge",
			"CGO_ENABLED=1 CC=$machine-linux-gnu-gcc", "libssl-dev:${TARGETARCH}", "ca-certificates openssl ",
		} {
			if !strings.Contains(dockerfile, want) {
				t.Errorf("xcaddy.Dockerfile lacks %q", want)
			}
		}
		if _, edge, _ := strings.Cut(dockerfile, " AS edge\n"); compose.Services["edge"].Healthcheck.Test[1] == "wget" && !strings.Contains(edge[:strings.Index(edge, "FROM ")], " wget ") {
			t.Error("the edge's health check runs wget, which its image does not have")
		}
	})
	t.Run("xcaddy is called as in the Makefile", func(t *testing.T) {
		makefile, dockerfile := string(readFile(t, "Makefile")), string(readFile(t, "xcaddy.Dockerfile"))
		for _, tool := range []string{"CADDY_VERSION", "XCADDY_VERSION"} {
			want := regexp.MustCompile(tool + `\s*:=\s*(\S+)`).FindStringSubmatch(makefile)
			if want == nil || !strings.Contains(dockerfile, "ARG "+tool+"="+want[1]) {
				t.Errorf("%s differs between Makefile and xcaddy.Dockerfile", tool)
			}
		}
		if version := regexp.MustCompile(`caddyserver/caddy/v2 (v\S+)`).FindStringSubmatch(string(readFile(t, "caddymodule/go.mod"))); version == nil || !strings.Contains(makefile, ":= "+version[1]) {
			t.Errorf("caddymodule/go.mod requires Caddy %v, which is not what the Makefile builds", version)
		}
	})
}

func readFile(t *testing.T, name string) []byte {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(root, name))
	if err != nil {
		t.Fatal(err)
	}
	return content
}

// goSource is the text of every Go file of a module but its tests.
func goSource(t *testing.T, module string) string {
	t.Helper()
	var all strings.Builder
	err := filepath.WalkDir(filepath.Join(root, module), func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		content, err := os.ReadFile(path)
		all.Write(content)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all.String()
}
