package systemtest

import (
	"math"
	"time"

	"golang.org/x/sys/unix"
)

// instant is a time in nanoseconds by CLOCK_MONOTONIC, which all processes of a machine
// share. (A [time.Time] hides it.)
type instant int64

// clockBase is one time by both clocks: reading the shared one takes a system call, and
// readers read the time twice per lookup. Of several readings it is the quickest: a process that
// is interrupted between the two clocks would be wrong by as long from then on.
var clockBase = func() (base struct {
	shared instant
	local  time.Time
}) {
	quickest := time.Duration(math.MaxInt64)
	for range 100 {
		before := monotonic()
		local := time.Now()
		if took := time.Duration(monotonic() - before); took < quickest {
			quickest, base.shared, base.local = took, before, local
		}
	}
	return base
}()

func monotonic() instant {
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &now); err != nil {
		panic(err)
	}
	return instant(now.Nano())
}

func now() instant {
	return clockBase.shared + instant(time.Since(clockBase.local))
}

// notOver is the end of a call of which nobody knows whether it happened: it may yet.
const notOver instant = 1<<63 - 1
