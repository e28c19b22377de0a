package nearcache

import (
	"math/rand/v2"
	"sync/atomic"
)

// Stats counts what a [Cache] has done. All but Entries only grow.
type Stats struct {
	Hits    uint64 // lookups that memory answered
	Misses  uint64 // lookups that it did not
	Entries int    // values in memory, expired ones included
}

// Count counts a lookup. The caller counts, because it may have to refuse a value: then the
// database answers.
func (c *Cache) Count(hit bool) {
	if hit {
		c.hits.add()
	} else {
		c.misses.add()
	}
}

// Stats returns the counters. They are not read at one moment.
func (c *Cache) Stats() Stats {
	if c == nil {
		return Stats{}
	}
	return Stats{Hits: c.hits.load(), Misses: c.misses.load(), Entries: c.memory.EstimatedSize()}
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
