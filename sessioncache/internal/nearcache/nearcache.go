// Package nearcache keeps values in memory that a feed of changes keeps correct: no
// [Cache.Get] that begins after a change has returned sees what was before it (a
// regular register; Lamport, On Interprocess Communication, 1986). It holds the
// entries, the rule that says when they count, and the goroutine that polls the feed.
// It knows nothing of SQL.
//
// What it needs of those who change something: each change waits 250 ms after its
// commit before it returns. An entry counts for [Fresh], 200 ms, after the start of
// the last poll that has been applied. The difference allows for clocks that go at
// different rates.
//
// The order of things is what makes this correct, and is the same in three places.
// A poll's start is read before the feed is asked, and published after the removals.
// A Get reads the published start, then the clock, then the entry. A lookup takes its
// [Ticket] before it is sent, and what it has found is kept only if no poll that was
// applied since told of its id.
package nearcache

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rhaptos/sessiondb/sessioncache/sid"
)

// What both sides of the protocol must agree on. A change waits longer than Fresh, by
// enough for two clocks whose rates differ by a fifth.
const (
	// Fresh is for how long an entry counts after the start of the last applied poll.
	Fresh = 200 * time.Millisecond

	// Quarantine is for how long no lookup is kept after the feed's identity has
	// changed: a change that did not know of this near cache may still be under way.
	Quarantine = time.Second

	// MaxAge is when an entry ends at the latest, whatever the feed says.
	MaxAge = time.Minute
)

// Changes is what a poll has found: the changes between the last applied poll's
// snapshot and its own.
type Changes struct {
	// Server identifies the server that has answered (its start, in microseconds): what
	// a lookup finds on another one is not kept.
	Server int64

	// Reset says that anything may have changed.
	Reset bool

	// Quarantine says that the feed is not the one of the last applied poll, or that
	// this is the first. It implies Reset.
	Quarantine bool

	// Changed holds the ids of those that have changed. The Cache keeps it.
	Changed []sid.ID
}

// Feed tells what has changed. Its methods are called by one goroutine at a time.
type Feed interface {
	// Poll returns what has changed since the snapshot of the last applied poll, or an
	// error if it cannot tell. Without an answer there is no memory, and the same holds
	// on a server in recovery.
	Poll(ctx context.Context) (Changes, error)

	// Applied says that what the last Poll has returned is applied: the next Poll starts
	// from there.
	Applied()
}

// Config says what a [Cache] is made of.
type Config struct {
	// Entries is how many values are kept, at least 1.
	Entries int

	// Feed tells what has changed.
	Feed Feed

	// Now reads both clocks, neither cached nor rounded. Nil means those of this machine.
	Now func() Instant

	// PollTimeout is how long a poll may take. The context of Poll ends with it, and
	// whoever waits is released; an answer that comes later is not used. Zero means one
	// second.
	PollTimeout time.Duration

	// Report is called when the feed stops working, with the error, and with nil when it
	// works again. A feed that fails at first is reported, too. It may be nil.
	Report func(err error)
}

const defaultPollTimeout = time.Second

// Cache is a bounded map of values by id, whose entries count only as long as nothing
// can have changed unseen. There is nothing to close: it polls while it is used.
//
// All methods may be called from several goroutines at once. Values are shared between
// callers.
type Cache[V any] struct {
	now  func() Instant
	base atomic.Pointer[base[V]] // nil while no entry counts; stored with mu held

	// The counters keep what every hit reads apart from what a lookup writes.
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

// base is what the last applied poll has established. It never changes.
type base[V any] struct {
	poll   uint64  // the poll's number
	start  Instant // read before the feed was asked
	memory *memory[V]
}

// fresh tells whether the poll's age makes entries count.
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
