package nearcache

import (
	"math/rand/v2"
	"sync/atomic"
)

// Stats counts what a [Cache] has done. All but Entries only grow.
type Stats struct {
	Hits        uint64 // calls of Get that returned a value
	Misses      uint64 // calls of Get that did not
	Waits       uint64 // hits and misses that waited for a poll
	Polls       uint64 // polls that have begun
	FailedPolls uint64 // polls that have failed
	Resets      uint64 // polls that emptied memory because anything may have changed
	Restarts    uint64 // polls that emptied memory because the feed's identity had changed
	Entries     int    // values in memory, expired ones included
}

// Stats returns the counters. They are not read at one moment.
func (c *Cache[V]) Stats() Stats {
	c.mu.Lock()
	stats := Stats{Resets: c.resets, Restarts: c.restarts, Entries: c.memory.EstimatedSize()}
	c.mu.Unlock()
	c.poller.mu.Lock()
	stats.Polls, stats.FailedPolls = c.poller.begun.Load(), c.poller.failed
	c.poller.mu.Unlock()
	stats.Hits, stats.Misses, stats.Waits = c.hits.load(), c.misses.load(), c.waits.load()
	return stats
}

// stripes is a power of two.
const stripes = 16

// counter counts without contention: CPUs that count at the same time mostly use
// different cache lines.
type counter [stripes]struct {
	n atomic.Uint64
	_ [128 - 8]byte // two cache lines, because CPUs fetch them in pairs
}

func (c *counter) add() {
	c[rand.Uint32()%stripes].n.Add(1)
}

func (c *counter) load() (n uint64) {
	for i := range c {
		n += c[i].n.Load()
	}
	return n
}
