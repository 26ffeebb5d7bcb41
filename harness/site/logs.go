package site

import (
	"os"
	"os/exec"
	"path/filepath"
)

// EdgeLog is the file with what the edge prints, if Options.Logs wants it.
func (s *Site) EdgeLog() string { return filepath.Join(s.dir, "edge.log") }

// WorkerLog is the file with what the worker prints, if Options.Logs wants it.
func (s *Site) WorkerLog() string { return filepath.Join(s.dir, "worker.log") }

// logTo has a command write both its outputs to the end of a file, which lives
// until Close.
func (s *Site) logTo(cmd *exec.Cmd, path string) error {
	if !s.o.Logs {
		return nil
	}
	log, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	s.logs = append(s.logs, log)
	cmd.Stdout, cmd.Stderr = log, log
	return nil
}
