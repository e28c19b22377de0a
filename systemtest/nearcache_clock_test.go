package systemtest

import (
	"time"

	"golang.org/x/sys/unix"
)

// instant is a time in nanoseconds by CLOCK_MONOTONIC, which all processes of a machine
// share. (A [time.Time] hides it.)
type instant int64

// clockBase is one time by both clocks: reading the shared one takes a system call, and
// readers read the time twice per lookup.
var clockBase = func() (base struct {
	shared instant
	local  time.Time
}) {
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &now); err != nil {
		panic(err)
	}
	base.shared, base.local = instant(now.Nano()), time.Now()
	return base
}()

func now() instant {
	return clockBase.shared + instant(time.Since(clockBase.local))
}

// notOver is the end of a call of which nobody knows whether it happened: it may yet.
const notOver instant = 1<<63 - 1
