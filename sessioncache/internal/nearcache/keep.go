package nearcache

import (
	"time"

	"github.com/rhaptos/sessiondb/sid"
)

// Ticket is taken before a lookup is sent.
type Ticket struct {
	poll uint64 // the last applied poll; 0 if there is none or the feed fails
	at   Instant
}

// Begin returns a ticket for a lookup that is about to be sent.
func (c *Cache[V]) Begin() Ticket {
	t := Ticket{at: c.now()}
	if base := c.base.Load(); base != nil {
		t.poll = base.poll
	}
	return t
}

// Keep stores the result of a lookup, unless something may have changed since its
// ticket was taken, and tells which. server is the server of the answer, as in
// [Changes]. ttl is how long the value holds; it counts from the ticket, and [MaxAge]
// limits it. A nil value is not kept, because the feed does not tell of new sessions.
// The eviction policy may drop an entry at any time.
func (c *Cache[V]) Keep(t Ticket, server int64, inRecovery bool, id sid.ID, value *V, ttl time.Duration) bool {
	c.mu.Lock() // a poll is applied before or after this, not in between
	defer c.mu.Unlock()
	base := c.base.Load()
	switch {
	case base == nil: // no poll would tell of a change
		return false
	case !c.history.unchanged(t.poll, id): // a poll applied since told of a change, or may have
		return false
	case server != c.server: // polls say nothing about another server
		return false
	case inRecovery: // a standby may lag
		return false
	case !c.quarantine.over(t.at):
		return false
	case value == nil || ttl <= 0: // absence is never kept
		return false
	}
	base.memory.Set(id, &entry[V]{lookup: t.at, ttl: min(ttl, MaxAge), value: *value})
	return true
}
