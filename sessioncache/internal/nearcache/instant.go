package nearcache

import "time"

// Instant is one reading of both clocks, in nanoseconds. The monotonic clock stands
// still while the machine is suspended; the wall clock may be set, in either
// direction. What both say holds unless both are wrong at once.
type Instant struct{ Mono, Wall int64 }

// Within reports whether both clocks say that 0 <= elapsed < d from then to now.
func (now Instant) Within(then Instant, d time.Duration) bool {
	mono, wall := now.Mono-then.Mono, now.Wall-then.Wall
	return 0 <= mono && mono < int64(d) && 0 <= wall && wall < int64(d)
}

// processStart makes a number of the monotonic clock, which [time.Time] hides.
var processStart = time.Now()

// Now reads both clocks in one call.
func Now() Instant {
	now := time.Now()
	return Instant{Mono: int64(now.Sub(processStart)), Wall: now.UnixNano()}
}
