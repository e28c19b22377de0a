package sessioncache

import (
	"context"
	"time"

	"github.com/rhaptos/sessiondb/sessioncache/sid"
)

// How often Ended asks the database: with a change feed that tells of what happens, and
// without.
const (
	endedInterval         = time.Minute
	endedIntervalUnfed    = 2 * time.Second
	endedExpiryResolution = 10 * time.Millisecond
)

// Ended returns nil when the session that a handle names has ended, by a logout or a
// timeout, or is absent. Where a near cache is in use ([WithNearCache]) it learns of a
// logout within [NearCacheStaleness], otherwise within two seconds. It waits while the
// database does not answer, and returns an error only when ctx ends: [ErrUnavailable].
// Waiting does not count as use.
func (c *Cache[T]) Ended(ctx context.Context, handle sid.Handle) error {
	for {
		changed, stop, fed := c.Changed(handle) // before the lookup, or a change in between would go unnoticed
		wait, ended := c.endsIn(ctx, handle, fed)
		if !ended {
			timer := time.NewTimer(wait)
			select {
			case <-changed:
			case <-timer.C:
			case <-ctx.Done():
			}
			timer.Stop()
		}
		stop()
		if ended {
			return nil
		}
		if ctx.Err() != nil {
			return interpret("await the end", ctx.Err())
		}
	}
}

// endsIn looks whether a session has ended, or else when to look again.
func (c *Cache[T]) endsIn(ctx context.Context, handle sid.Handle, fed bool) (wait time.Duration, ended bool) {
	wait = endedIntervalUnfed
	if fed {
		wait = endedInterval
	}
	r, err := c.lookUp(ctx, sid.ID(handle))
	switch {
	case err != nil:
		return endedIntervalUnfed, false
	case r == nil || r.isPlain() || r.ttl() < 0:
		return 0, true
	}
	return min(wait, duration(r.ttl())+endedExpiryResolution), false
}

// Changed returns a channel that is closed when the change feed tells that a session may
// have changed, or has ended, or that the feed has stopped working. It tells of what is
// committed after Changed has returned: look at the session afterwards. Call stop when
// nobody waits any more. fed is false where no feed is read: without [WithNearCache], or
// while it does not work. Then nothing is told.
func (c *Cache[T]) Changed(handle sid.Handle) (changed <-chan struct{}, stop func(), fed bool) {
	if c.near == nil {
		return nil, func() {}, false
	}
	changed, stop = c.near.memory.Subscribe(sid.ID(handle))
	return changed, stop, c.near.memory.Working()
}
