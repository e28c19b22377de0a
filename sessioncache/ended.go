package sessioncache

import (
	"context"
	"time"

	"github.com/rhaptos/sessiondb/sid"
)

// How often Ended asks the database, with a change feed and without.
const (
	endedInterval         = time.Minute
	endedIntervalUnfed    = 2 * time.Second
	endedExpiryResolution = 10 * time.Millisecond
)

// Ended blocks until the session that a handle names has ended, by a logout or a
// timeout, and then returns nil. For an absent session it returns nil at once. With a
// near cache ([WithNearCache]) it returns within [NearCacheStaleness] of a logout,
// without one within two seconds. While the database does not answer it goes on
// waiting. It returns an error only when ctx ends: [ErrUnavailable], which wraps ctx's
// error. Waiting does not count as use.
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

// endsIn tells whether a session has ended, or else when to look again.
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

// Changed returns a channel that is closed when the session may have changed or ended.
// It covers changes that are committed after Changed has returned, so look up the
// session after Changed, not before. Call stop when the channel is no longer needed.
//
// fed tells whether the change feed works at the time of the call. If it is false, the
// channel is never closed: the Cache has no near cache ([WithNearCache]), or its feed
// does not work. If it is true, the channel is also closed when the feed fails later.
func (c *Cache[T]) Changed(handle sid.Handle) (changed <-chan struct{}, stop func(), fed bool) {
	if c.near == nil {
		return nil, func() {}, false
	}
	changed, stop = c.near.memory.Subscribe(sid.ID(handle))
	return changed, stop, c.near.memory.Working()
}
