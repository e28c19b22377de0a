package nearcache

import (
	"time"

	"github.com/rhaptos/sessiondb/sessioncache/sid"
)

// Ticket is taken before a lookup is sent.
type Ticket struct {
	poll uint64 // the last applied one; 0: none, or the feed fails
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

// Keep keeps what a lookup has found, unless something may have changed since its
// ticket was taken, and tells which; the eviction policy may drop it later. server is where the answer comes from, as
// in [Changes]. ttl is how long the value holds; it counts from the ticket, and ends
// after [MaxAge] at the latest. A nil value is not kept: the feed does not tell of what
// is stored anew.
func (c *Cache[V]) Keep(t Ticket, server int64, inRecovery bool, id sid.ID, value *V, ttl time.Duration) bool {
	c.mu.Lock() // a poll is applied before or after this, not in between
	defer c.mu.Unlock()
	base := c.base.Load()
	switch {
	case base == nil: // there is no poll that would tell of a change
		return false
	case !c.history.unchanged(t.poll, id): // a poll applied since told of a change, or may have
		return false
	case server != c.server: // polls say nothing about another server
		return false
	case inRecovery: // a standby may be behind
		return false
	case !c.quarantine.over(t.at):
		return false
	case value == nil || ttl <= 0: // absence is never kept
		return false
	}
	base.memory.Set(id, &entry[V]{lookup: t.at, ttl: min(ttl, MaxAge), value: *value})
	return true
}
