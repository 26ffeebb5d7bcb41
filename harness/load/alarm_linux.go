package load

import (
	"context"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// alarm wakes its one user up at a moment, tens of microseconds late. Go's own
// timers may be a millisecond late on an idle processor (the runtime waits in
// whole milliseconds), which would be counted as the server's time.
type alarm struct {
	file    *os.File // of timerfd_create(2), waited for by the runtime's poller
	fd      int
	unwatch func() bool
}

// newAlarm makes an alarm that does not ring any more, but lets pass, after the
// end of ctx.
func newAlarm(ctx context.Context) (*alarm, error) {
	fd, err := unix.TimerfdCreate(unix.CLOCK_MONOTONIC, unix.TFD_NONBLOCK|unix.TFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("making a timer: %w", err)
	}
	file := os.NewFile(uintptr(fd), "timerfd")
	return &alarm{file: file, fd: fd, unwatch: context.AfterFunc(ctx, func() {
		_ = file.SetReadDeadline(time.Unix(1, 0))
	})}, nil
}

// sleep returns after d, at once when that is nothing or the alarm's ctx has
// ended.
func (a *alarm) sleep(d time.Duration) {
	if d <= 0 {
		return
	}
	spec := unix.ItimerSpec{Value: unix.NsecToTimespec(d.Nanoseconds())}
	if err := unix.TimerfdSettime(a.fd, 0, &spec, nil); err != nil {
		panic(fmt.Sprintf("setting a timer to %s: %v", d, err)) // only for arguments that are wrong
	}
	var expirations [8]byte
	_, _ = a.file.Read(expirations[:]) // fails only when ctx has ended
}

func (a *alarm) close() {
	a.unwatch()
	_ = a.file.Close()
}
