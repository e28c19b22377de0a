package nearcache

import (
	"time"

	"github.com/maypok86/otter/v2"

	"github.com/rhaptos/sessiondb/sid"
)

// memory is a bounded map with an eviction policy. Of otter it uses neither expiry nor
// loading nor statistics: without expiry, otter has no goroutine that outlives a call
// by more than one pass of maintenance, and no clock of its own.
type memory[V any] = otter.Cache[sid.ID, *entry[V]]

func newMemory[V any](entries int) *memory[V] {
	return otter.Must(&otter.Options[sid.ID, *entry[V]]{MaximumSize: entries})
}

// entry is what a lookup has found. It never changes.
type entry[V any] struct {
	lookup Instant // before it was sent
	ttl    time.Duration
	value  V // not a pointer to it: a hit waits for memory once less
}

// live tells whether the entry has not ended, by both clocks.
func (e *entry[V]) live(now Instant) bool {
	return now.Within(e.lookup, e.ttl)
}
