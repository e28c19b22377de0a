package nearcache

// quarantine keeps the results of lookups that were sent before its end out of memory.
type quarantine struct {
	start Instant
}

// begin starts the quarantine.
func (q *quarantine) begin(now Instant) {
	q.start = now
}

// over tells whether a lookup that was sent at t was sent after the quarantine, by both
// clocks.
func (q *quarantine) over(t Instant) bool {
	mono, wall := t.Mono-q.start.Mono, t.Wall-q.start.Wall
	switch {
	case mono < 0:
		return false // sent before the quarantine began
	case wall < 0: // the wall clock was set back: start again, or it would last as long as the step
		q.start = t
		return false
	default:
		return mono >= int64(Quarantine) && wall >= int64(Quarantine)
	}
}
