package chaos

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/harness/process"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/harness/servers"
)

// Worker is one bin/worker serve of a scene, which is killed and started again
// under the same name.
type Worker struct {
	Process *process.Process

	scene *Scene
	name  string
	url   string
	log   string   // file
	env   []string // besides that of the site
	bin   string   // another binary than the scene's; empty for that
}

// Worker prepares a worker; env comes after the site's own and overrides it.
func (s *Scene) Worker(name string, env ...string) (*Worker, error) {
	port, err := servers.FreePort()
	if err != nil {
		return nil, err
	}
	address := "127.0.0.1:" + strconv.Itoa(port)
	w := &Worker{
		scene: s, name: name, url: "http://" + address, log: filepath.Join(s.dir, fmt.Sprintf("%s-%d.log", name, port)),
		env: append([]string{"WORKER_NAME=" + name, "LISTEN_ADDR=" + address, "CALLBACK_WEBHOOK_URL=" + s.Receiver.URL()}, env...),
	}
	s.workers = append(s.workers, w)
	return w, nil
}

// StartWorker is Worker, started and ready.
func (s *Scene) StartWorker(ctx context.Context, name string, env ...string) (*Worker, error) {
	w, err := s.Worker(name, env...)
	if err != nil {
		return nil, err
	}
	return w, w.Start(ctx)
}

// Launch starts the worker and does not wait; more comes after its environment.
func (w *Worker) Launch(more ...string) error {
	cmd := w.scene.Site.WorkerCommand("serve")
	cmd.Env = append(append(cmd.Env, w.env...), more...)
	if w.bin != "" {
		cmd.Path, cmd.Args[0] = w.bin, w.bin
	}
	log, err := os.OpenFile(w.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	cmd.Stdout, cmd.Stderr = log, log
	started, err := process.Start(cmd)
	if err != nil {
		return errors.Join(err, log.Close())
	}
	w.Process = started
	go func() {
		<-started.Done()
		log.Close()
	}()
	return nil
}

// Start launches the worker and returns when it is ready.
func (w *Worker) Start(ctx context.Context, more ...string) error {
	if err := w.Launch(more...); err != nil {
		return err
	}
	return w.Ready(ctx, time.Minute)
}

// Ready returns when /readyz says so.
func (w *Worker) Ready(ctx context.Context, within time.Duration) error {
	_, err := until(ctx, within, w.name+" is ready", func(ctx context.Context) error {
		select {
		case <-w.Process.Done():
			return permanent(fmt.Errorf("it has ended (%v):\n%s", w.Process.Wait(), w.Process.Tail()))
		default:
		}
		return w.get(ctx, "/readyz", nil)
	})
	return err
}

func (w *Worker) get(ctx context.Context, path string, read func(*bufio.Scanner)) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, w.url+path, nil)
	if err != nil {
		return err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("%s has status %d", path, response.StatusCode)
	}
	if read != nil {
		lines := bufio.NewScanner(response.Body)
		read(lines)
		return lines.Err()
	}
	return nil
}

// Kill is kill -9.
func (w *Worker) Kill() error { return w.Process.Kill() }

// Stop asks for an orderly end, waits for it and is its error.
func (w *Worker) Stop(within time.Duration) error {
	if err := w.Process.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	select {
	case <-w.Process.Done():
		return w.Process.Wait()
	case <-time.After(within):
		return errors.Join(fmt.Errorf("%s still runs %s after SIGTERM", w.name, within), w.Kill())
	}
}

// running says whether the worker's process lives.
func (w *Worker) running() bool {
	if w.Process == nil {
		return false
	}
	select {
	case <-w.Process.Done():
		return false
	default:
		return true
	}
}

// Metric is the sum of a metric of the worker over its labels, or over those that
// hold label, such as kind="step". Names of the worker's own are given without
// their prefix.
func (w *Worker) Metric(ctx context.Context, name string, label ...string) (float64, error) {
	sum, found := 0.0, len(label) > 0 // a label that never occurred stands for none
	if !strings.HasPrefix(name, "go_") && !strings.HasPrefix(name, "process_") {
		name = "whatsapp_flows_worker_" + name
	}
	err := w.get(ctx, "/metrics", func(lines *bufio.Scanner) {
		for lines.Scan() {
			rest, ok := strings.CutPrefix(lines.Text(), name)
			if !ok || rest == "" || rest[0] != ' ' && rest[0] != '{' || len(label) > 0 && !strings.Contains(rest, label[0]) {
				continue
			}
			if n, err := strconv.ParseFloat(rest[strings.LastIndexByte(rest, ' ')+1:], 64); err == nil {
				sum, found = sum+n, true
			}
		}
	})
	if err == nil && !found {
		err = fmt.Errorf("there is no metric %s", name)
	}
	return sum, err
}

// Lines counts the lines of the worker's log that hold all of these texts.
func (w *Worker) Lines(texts ...string) (int, error) {
	log, err := os.ReadFile(w.log)
	if err != nil {
		return 0, err
	}
	count := 0
lines:
	for line := range strings.Lines(string(log)) {
		for _, text := range texts {
			if !strings.Contains(line, text) {
				continue lines
			}
		}
		count++
	}
	return count, nil
}

// Warnings are the last lines of the worker's log that are not of level info.
func (w *Worker) Warnings(most int) string {
	log, err := os.ReadFile(w.log)
	if err != nil {
		return ""
	}
	var lines []string
	for line := range strings.Lines(string(log)) {
		if !strings.Contains(line, `"level":"info"`) {
			lines = append(lines, line)
		}
	}
	return strings.Join(lines[max(0, len(lines)-most):], "")
}
