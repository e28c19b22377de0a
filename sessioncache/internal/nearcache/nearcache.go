// Package nearcache keeps the results of lookups in memory for a short time (a lease;
// Gray and Cheriton, Leases, 1989). It has no SQL, no goroutine and no messages.
//
// The rule needs the help of every change: it returns 250 ms after its commit. An entry
// counts for [Lease], 200 ms, from the moment at which its lookup was sent. Therefore a [Cache.Get]
// that begins after a change has returned never shows what was before the change (a
// regular register; Lamport, On Interprocess Communication, 1986): what a lookup found
// before the commit was sent before it, and 200 ms later it is gone. The difference of 50 ms
// is for clocks that run at different rates.
//
// Changes of this process are seen at once: [Cache.Mark].
package nearcache

import (
	"math"
	"sync"
	"sync/atomic"
	"time"

	"github.com/maypok86/otter/v2"

	"github.com/rhaptos/sessiondb/sid"
)

const (
	// Lease is how long an entry counts after its lookup was sent. A change waits a quarter
	// longer.
	Lease = 200 * time.Millisecond

	// LargestKept is the largest size of an entry, in bytes. With the number of entries it
	// bounds the memory.
	LargestKept = 64 << 10
)

// Cache is a bounded map of values by id, which count for a short time. It needs no closing.
// On a nil Cache, Begin, Mark, MarkAll and Stats do nothing.
//
// Several goroutines may call its methods at once. Callers share the values.
type Cache struct {
	now func() Instant

	// Of otter it uses neither expiry nor loading nor statistics: without expiry, otter has
	// no goroutine that outlives a call by more than one pass of maintenance, and no clock of
	// its own.
	memory *otter.Cache[sid.ID, Value]

	all atomic.Int64 // the last MarkAll, by the monotonic clock

	// The counters separate the fields that every hit reads from those that lookups write.
	hits, misses counter

	mu    sync.Mutex // a mark comes before or after an entry is stored, not in between
	marks marks
}

// Value is what a lookup has found: a pointer to a struct that embeds [Entry]. (With a type
// parameter instead, otter would be compiled for each type of user.)
type Value interface{ entry() *Entry }

// Entry is how long a value counts. [Cache.Keep] sets it.
type Entry struct {
	sent Instant // before the lookup was sent
	ttl  time.Duration
}

func (e *Entry) entry() *Entry { return e }

// New returns an empty Cache of at most so many entries, at least one. now reads both clocks,
// neither cached nor rounded: [Now], except in tests.
func New(entries int, now func() Instant) *Cache {
	c := &Cache{
		now:    now,
		memory: otter.Must(&otter.Options[sid.ID, Value]{MaximumSize: max(1, entries)}),
	}
	c.all.Store(math.MinInt64)
	return c
}

// Get returns the value of id, and the time since its lookup was sent. ok is false if there
// is none that counts: then the caller asks the database. The value must not be changed. Get
// counts nothing; see [Cache.Count].
func (c *Cache) Get(id sid.ID) (value Value, age time.Duration, ok bool) {
	value, ok = c.memory.GetIfPresent(id)
	if !ok {
		return nil, 0, false
	}
	e := value.entry()
	now := c.now() // after the value was read: its age is the one at which the caller gets it
	if !now.Within(e.sent, e.ttl) || e.sent.Mono <= c.all.Load() {
		return nil, 0, false
	}
	return value, time.Duration(now.Mono - e.sent.Mono), true
}

// Begin returns the time of a lookup that is about to be sent. [Cache.Keep] takes it.
func (c *Cache) Begin() Instant {
	if c == nil {
		return Instant{}
	}
	return c.now()
}

// Keep stores what a lookup has found, unless its id was marked since it was sent, or a
// later lookup is stored already. size is about how many bytes the value takes. ttl is how
// long the value holds; it counts from sent, and [Lease] limits it. The eviction policy may
// drop a value at any time. The caller must not change the value any more.
//
// The caller keeps no absence: after a change of this process nothing would end it.
func (c *Cache) Keep(sent Instant, id sid.ID, value Value, size int, ttl time.Duration) {
	if ttl <= 0 || size > LargestKept {
		return
	}
	*value.entry() = Entry{sent: sent, ttl: min(ttl, Lease)}
	c.mu.Lock()
	defer c.mu.Unlock()
	if sent.Mono <= c.all.Load() || c.marks.has(id, sent.Mono) {
		return
	}
	if stored, ok := c.memory.GetEntryQuietly(id); ok && stored.Value.entry().sent.Mono > sent.Mono {
		return
	}
	c.memory.Set(id, value)
}

// Mark removes ids that this process has changed, or may have changed. What lookups find
// that were sent before is not kept. Call it after the commit.
func (c *Cache) Mark(ids ...sid.ID) {
	if c == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.now().Mono
	for _, id := range ids {
		c.marks.add(id, now)
		c.memory.Invalidate(id)
	}
}

// MarkAll is Mark for every id.
func (c *Cache) MarkAll() {
	if c == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.all.Store(c.now().Mono)
}
