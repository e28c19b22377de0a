package nearcache

import (
	"context"
	"time"

	"github.com/rhaptos/sessiondb/sid"
)

// Get returns the value of id, and the time since the lookup that found it was sent. ok
// is false if there is no entry that counts: then the caller has to ask the database.
//
// If there is an entry but the last poll is too old, Get waits for a poll, which all
// waiting calls share. It does not wait while the feed fails, nor longer than ctx.
// Callers share the value: what it points to must not be changed.
func (c *Cache[V]) Get(ctx context.Context, id sid.ID) (value *V, age time.Duration, ok bool) {
	base, now, e := c.read(id)
	if e == nil || base.fresh(now) {
		c.poller.use()
	} else {
		now, e = c.await(ctx, id)
	}
	if e == nil {
		c.misses.add()
		return nil, 0, false
	}
	c.hits.add()
	return &e.value, time.Duration(now.Mono - e.lookup.Mono), true
}

// await waits until the entry counts. It returns nil if the entry is gone, the feed
// fails, or ctx ends.
func (c *Cache[V]) await(ctx context.Context, id sid.ID) (Instant, *entry[V]) {
	c.waits.add()
	called := c.poller.begun.Load() // polls with a higher number begin after this call
	for c.poller.wait(ctx) {
		base, now, e := c.read(id)
		if e == nil || base.fresh(now) || base.poll > called {
			return now, e
		}
		// The poll that was under way when this call began took so long that it does not
		// count. The next one does.
	}
	return Instant{}, nil
}

// read reads memory in the order that makes an entry count. Its results are nil if there
// is no live entry.
func (c *Cache[V]) read(id sid.ID) (*base[V], Instant, *entry[V]) {
	base := c.base.Load() // What the last applied poll has established comes first,
	if base == nil {
		return nil, Instant{}, nil
	}
	now := c.now()                        // then the clock,
	e, ok := base.memory.GetIfPresent(id) // then the entry, which the poll may have removed.
	if !ok || !e.live(now) {
		return nil, Instant{}, nil
	}
	return base, now, e
}
