// Package nearcache keeps values in memory and a feed of changes keeps them correct: a
// [Cache.Get] that begins after a change has returned never shows what was before the
// change (a regular register; Lamport, On Interprocess Communication, 1986). The
// package has the entries, the rule that says when they count, and the goroutine that
// polls the feed. It has no SQL.
//
// The rule needs the help of every change: it must wait 250 ms after its commit before
// it returns. An entry counts for [Fresh], 200 ms, after the start of the last applied
// poll. The difference is for clocks that run at different rates.
//
// Three orders make this correct. A poll reads its start before it asks the feed, and
// publishes it after it has removed entries. A Get reads the published start, then the
// clock, then the entry. A lookup takes its [Ticket] before it is sent, and its result
// is kept only if no poll that was applied since has named its id.
package nearcache

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rhaptos/sessiondb/sid"
)

// The constants of the protocol. A change waits longer than Fresh, enough for two clocks
// whose rates differ by a fifth.
const (
	// Fresh is how long an entry counts after the start of the last applied poll.
	Fresh = 200 * time.Millisecond

	// Quarantine is how long no lookup is kept after the feed's identity has changed: a
	// change that does not wait for this near cache may still be under way.
	Quarantine = time.Second

	// MaxAge is the longest life of an entry.
	MaxAge = time.Minute
)

// Changes is the result of a poll: the changes between the snapshot of the last applied
// poll and its own.
type Changes struct {
	// Server identifies the server that has answered, by its start in microseconds. The
	// results of lookups on another server are not kept.
	Server int64

	// Reset tells that anything may have changed.
	Reset bool

	// Quarantine tells that this is the first poll, or that the feed is another one than at
	// the last applied poll. It implies Reset.
	Quarantine bool

	// Changed holds the ids that have changed. The Cache keeps the slice.
	Changed []sid.ID
}

// Feed returns changes. One goroutine at a time calls its methods.
type Feed interface {
	// Poll returns the changes since the snapshot of the last applied poll, or an error if
	// it cannot tell them, as on a server in recovery. After an error no entry counts.
	Poll(ctx context.Context) (Changes, error)

	// Applied tells that the result of the last Poll is applied. The next Poll starts from
	// there.
	Applied()
}

// Config configures a [Cache].
type Config struct {
	// Entries is the largest number of values, at least 1.
	Entries int

	// Feed returns changes.
	Feed Feed

	// Now reads both clocks, neither cached nor rounded. Nil means those of this machine.
	Now func() Instant

	// PollTimeout is how long a poll may take. Then the context of Poll ends, waiting calls
	// go on without the poll, and a later answer is not used. Zero means one second.
	PollTimeout time.Duration

	// Report is called with the error when the feed stops working or does not work from
	// the start, and with nil when it works again. It may be nil.
	Report func(err error)
}

const defaultPollTimeout = time.Second

// Cache is a bounded map of values by id. Its entries count only while no change can
// have been missed. It polls while it is used, and needs no closing.
//
// Several goroutines may call its methods at once. Callers share the values.
type Cache[V any] struct {
	now  func() Instant
	base atomic.Pointer[base[V]] // nil while no entry counts; stored with mu held

	// The counters separate the fields that every hit reads from those that lookups write.
	hits, misses, waits counter

	poller poller

	mu               sync.Mutex
	size             int
	memory           *memory[V]
	server           int64 // of the last applied poll
	history          history
	quarantine       quarantine
	resets, restarts uint64
}

// base is the result of the last applied poll. It never changes.
type base[V any] struct {
	poll   uint64  // the poll's number
	start  Instant // read before the feed was asked
	memory *memory[V]
}

// fresh tells whether the poll is recent enough for entries to count.
func (b *base[V]) fresh(now Instant) bool {
	return now.Within(b.start, Fresh)
}

// New returns an empty Cache. It starts no goroutine.
func New[V any](config Config) *Cache[V] {
	c := &Cache[V]{now: config.Now, size: max(1, config.Entries)}
	c.memory = newMemory[V](c.size)
	if c.now == nil {
		c.now = Now
	}
	c.poller = poller{
		feed:    config.Feed,
		timeout: config.PollTimeout,
		report:  config.Report,
		now:     c.now,
		apply:   c.apply,
		disable: c.disable,
		wake:    make(chan struct{}, 1),
		topics:  make(map[sid.ID]*topic),
	}
	if c.poller.timeout == 0 {
		c.poller.timeout = defaultPollTimeout
	}
	return c
}
