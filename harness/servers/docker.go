package servers

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strconv"
	"strings"
	"time"
)

// The images carry the versions that the project is tested with.
const (
	PostgresImage = "postgres:15-alpine"
	RedisImage    = "redis:7.0-alpine"
)

// container is a private server in a Docker container.
type container struct {
	image  string
	inside int      // port in the container
	port   int      // port on 127.0.0.1; chosen here, so that it survives a restart
	env    []string // NAME=value
	args   []string // command line of the server
	ping   func(ctx context.Context) error
	server string // its URL
	id     string // empty until created
}

// dockerAnswers says whether there is a docker command and an engine behind it.
func dockerAnswers(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	return exec.CommandContext(ctx, "docker", "info", "--format", "{{.ServerVersion}}").Run() == nil
}

func newPostgresContainer(durable bool) (*container, error) {
	port, err := FreePort()
	if err != nil {
		return nil, err
	}
	return &container{
		image: PostgresImage, inside: 5432, port: port,
		env:    []string{"POSTGRES_HOST_AUTH_METHOD=trust"},
		args:   append([]string{"postgres"}, postgresSettings(durable)...),
		ping:   func(ctx context.Context) error { return pingPostgres(ctx, postgresURL(port)) },
		server: postgresURL(port),
	}, nil
}

func newRedisContainer() (*container, error) {
	port, err := FreePort()
	if err != nil {
		return nil, err
	}
	return &container{
		image: RedisImage, inside: 6379, port: port,
		args:   append([]string{"redis-server"}, redisSettings...),
		ping:   func(ctx context.Context) error { return pingRedis(ctx, port) },
		server: RedisURL(port),
	}, nil
}

func (c *container) url() string { return c.server }

// createArgs is the command line that makes the container.
func (c *container) createArgs() []string {
	args := []string{"create", "--label", "caddy-whatsapp-flows=harness", "--publish", fmt.Sprintf("127.0.0.1:%d:%d", c.port, c.inside)}
	for _, env := range c.env {
		args = append(args, "--env", env)
	}
	return append(append(args, c.image), c.args...)
}

func (c *container) start(ctx context.Context) error {
	if c.id == "" {
		id, err := docker(ctx, c.createArgs()...)
		if err != nil {
			return err
		}
		// A pull writes its progress before the id.
		lines := strings.Fields(id)
		if len(lines) == 0 {
			return fmt.Errorf("docker create %s printed no container id", c.image)
		}
		c.id = lines[len(lines)-1]
	}
	if _, err := docker(ctx, "start", c.id); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, startPatience)
	defer cancel()
	// The Postgres image starts a server once to set itself up and again to
	// serve; only the second listens on TCP.
	for {
		attempt, done := context.WithTimeout(ctx, 2*time.Second)
		err := c.ping(attempt)
		done()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			logs, _ := docker(context.WithoutCancel(ctx), "logs", "--tail", "20", c.id)
			return fmt.Errorf("%s does not answer on port %d: %w\n%s", c.image, c.port, err, logs)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

func (c *container) stop() error {
	_, err := docker(context.Background(), "stop", "--time", strconv.Itoa(int(stopPatience.Seconds())), c.id)
	return err
}

func (c *container) kill() error {
	if c.id == "" {
		return nil
	}
	state, err := docker(context.Background(), "inspect", "--format", "{{.State.Running}}", c.id)
	if err != nil || state != "true" {
		return err
	}
	_, err = docker(context.Background(), "kill", c.id)
	return err
}

// empty throws the container away: its data is in its own volume.
func (c *container) empty() error {
	err := c.remove()
	c.id = ""
	return err
}

func (c *container) remove() error {
	if c.id == "" {
		return nil
	}
	_, err := docker(context.Background(), "rm", "--force", "--volumes", c.id)
	return err
}

func (c *container) pids() []int { return nil }

func docker(ctx context.Context, args ...string) (string, error) {
	out, err := exec.CommandContext(ctx, "docker", args...).Output()
	if err != nil {
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			err = fmt.Errorf("%w: %s", err, strings.TrimSpace(string(exit.Stderr)))
		}
		return "", fmt.Errorf("docker %s: %w", args[0], err)
	}
	return strings.TrimSpace(string(out)), nil
}
