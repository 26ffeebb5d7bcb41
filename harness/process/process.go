// Package process runs programs that cannot outlive this one, and ends them with
// everything they started.
package process

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"sync"
	"syscall"
	"time"
)

// Process is one running program in a process group of its own.
type Process struct {
	cmd  *exec.Cmd
	done chan struct{}
	err  error // of Wait; readable once done is closed
	tail *tail
}

// Start runs cmd in its own process group, so that neither Ctrl-C in the
// terminal nor a signal to this process's group reaches it first, and has the
// kernel kill it when this process dies. What it writes goes where cmd says, and
// its end is kept for Tail.
//
// cpus, if any, are the numbers of the CPUs that it is kept on from its first
// instruction on, with all it starts (Linux only): a Go program counts them.
func Start(cmd *exec.Cmd, cpus ...int) (*Process, error) {
	p := &Process{cmd: cmd, done: make(chan struct{}), tail: &tail{}}
	cmd.Stdout, cmd.Stderr = p.tail.with(cmd.Stdout), p.tail.with(cmd.Stderr)
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	if cmd.WaitDelay == 0 {
		// What the program leaves behind may hold its outputs open for ever.
		cmd.WaitDelay = 500 * time.Millisecond
	}
	cmd.SysProcAttr.Setpgid = true
	dieWithParent(cmd.SysProcAttr)
	started := make(chan error)
	go func() {
		// The signal at the parent's death follows the thread that forked, not
		// the process: that thread must live until the program has ended.
		runtime.LockOSThread()
		err := pinThread(cpus)
		if err == nil {
			err = cmd.Start()
		}
		started <- err
		if err == nil {
			if p.err = cmd.Wait(); errors.Is(p.err, exec.ErrWaitDelay) {
				p.err = nil
			}
			close(p.done)
		}
		if len(cpus) == 0 {
			runtime.UnlockOSThread() // a pinned thread ends with its goroutine
		}
	}()
	if err := <-started; err != nil {
		return nil, err
	}
	return p, nil
}

// PID is the program's process id and that of its group.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Children are the process ids of the program's own children.
func (p *Process) Children() []int { return childrenOf(p.PID()) }

// Done is closed once the program has ended.
func (p *Process) Done() <-chan struct{} { return p.done }

// Wait waits for the program's end and returns its error, as exec.Cmd.Wait.
func (p *Process) Wait() error {
	<-p.done
	return p.err
}

// Tail is the end of what the program wrote to both its outputs.
func (p *Process) Tail() string { return p.tail.String() }

// Signal sends sig to the whole group.
func (p *Process) Signal(sig syscall.Signal) error { return syscall.Kill(-p.PID(), sig) }

// End sends sig to the program and waits for its end; after patience it kills.
func (p *Process) End(sig syscall.Signal, patience time.Duration) error {
	if err := p.cmd.Process.Signal(sig); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	select {
	case <-p.done:
		return nil
	case <-time.After(patience):
		return p.Kill()
	}
}

// Kill ends the program with SIGKILL, its group, and the children that left the group (each
// Postgres backend leads a session of its own), and waits until all are gone:
// a server started on the same data must not meet them.
func (p *Process) Kill() error {
	children := childrenOf(p.PID())
	select {
	case <-p.done:
		// Its process id may be another's by now, but not that of its group
		// while a member lives.
		_ = syscall.Kill(-p.PID(), syscall.SIGKILL)
		return nil
	default:
	}
	if err := syscall.Kill(-p.PID(), syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
		return fmt.Errorf("killing process group %d: %w", p.PID(), err)
	}
	for _, child := range children {
		_ = syscall.Kill(child, syscall.SIGKILL) // gone already is as good
	}
	<-p.done
	deadline := time.Now().Add(5 * time.Second)
	for _, child := range children {
		for Alive(child) {
			if time.Now().After(deadline) {
				return fmt.Errorf("process %d outlived SIGKILL", child)
			}
			time.Sleep(2 * time.Millisecond)
		}
	}
	return nil
}

// Alive says whether a process still runs; one that waits only for its parent
// to collect it does not.
func Alive(pid int) bool {
	return syscall.Kill(pid, 0) == nil && !isZombie(pid)
}

// tail keeps the end of what a program wrote, to be shown when it fails.
type tail struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

// with writes to the tail and to w, if there is one.
func (t *tail) with(w io.Writer) io.Writer {
	if w == nil {
		return t
	}
	return io.MultiWriter(t, w)
}

const tailSize = 64 << 10

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.buf.Write(p)
	if excess := t.buf.Len() - tailSize; excess > 0 {
		t.buf.Next(excess)
	}
	return len(p), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.buf.String()
}
