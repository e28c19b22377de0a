package nearcache

import (
	"sync"
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

// counter counts without contention: CPUs that count at the same time use different
// stripes.
type counter struct {
	stripes [16]stripe
	local   sync.Pool // of the stripe that a CPU has used last
	next    atomic.Uint32
}

type stripe struct {
	n atomic.Uint64
	_ [128 - 8]byte // two cache lines, because CPUs fetch them in pairs
}

func (c *counter) add() {
	s, _ := c.local.Get().(*stripe)
	if s == nil {
		s = &c.stripes[c.next.Add(1)%uint32(len(c.stripes))]
	}
	s.n.Add(1)
	c.local.Put(s)
}

func (c *counter) load() (n uint64) {
	for i := range c.stripes {
		n += c.stripes[i].n.Load()
	}
	return n
}
