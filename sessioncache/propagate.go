package sessioncache

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rhaptos/sessiondb/db"
	"github.com/rhaptos/sessiondb/sessioncache/internal/coalesce"
	"github.com/rhaptos/sessiondb/sessioncache/internal/nearcache"
)

// NearCacheStaleness is how long after its commit a change may still be unseen by near
// caches ([WithNearCache]), and so how much longer a change takes while one is in use.
// It is the same everywhere and cannot be set: the slowest to wait and the most generous
// reader of all servers must fit.
const NearCacheStaleness = nearcache.Fresh + 50*time.Millisecond

// notUsedFor is for how long it counts that no near cache was in use. A near cache keeps
// no lookup for [nearcache.Quarantine] after it has said that it is in use; a fifth of
// that is for clocks that go at different rates.
const notUsedFor = nearcache.Quarantine * 4 / 5

// usedFor is for how long it counts that one was.
const usedFor = time.Second

// AwaitNearCaches waits until no near cache on any server shows what was before the
// changes that have been committed. It is for after the commit of a caller's own
// transaction (see [Cache.WithTx]), or of raw SQL; all other calls wait by themselves.
// It returns at once while no near cache is in use, and after [NearCacheStaleness] at
// the latest. It fails only when ctx ends, with [ErrNotAwaited].
func (c *Cache[T]) AwaitNearCaches(ctx context.Context) error {
	return c.awaitNearCaches(ctx, nearcache.Now())
}

// propagate is where every change ends, with the change's result. It waits whatever the
// change has found: what it did not find, somebody else may have changed a moment ago and
// be waiting, too. A change that is part of a caller's transaction has not happened yet.
func (c *Cache[T]) propagate(ctx context.Context, err error) error {
	committed := nearcache.Now()
	if err != nil && !errors.Is(err, ErrConflict) && !errors.Is(err, ErrSuperseded) {
		return err
	}
	if c.inCallersTx() {
		if c.changed != nil {
			c.changed.Store(true)
		}
		return err
	}
	if waiting := c.awaitNearCaches(ctx, committed); err == nil {
		return waiting
	}
	return err
}

func (c *Cache[T]) awaitNearCaches(ctx context.Context, committed nearcache.Instant) error {
	if !c.nearCachesUsed(ctx, committed) {
		return nil
	}
	left := NearCacheStaleness - time.Duration(nearcache.Now().Mono-committed.Mono)
	if left <= 0 {
		return nil
	}
	timer := time.NewTimer(left)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("sessioncache: %w: %w", ErrNotAwaited, ctx.Err())
	}
}

// use is what is known of whether near caches are in use.
type use struct {
	ask coalesce.Group[struct{}, bool]

	mu      sync.Mutex
	used    nearcache.Instant // when they were, last
	notUsed nearcache.Instant // when they were not, last: before the server was asked

	unfed atomic.Bool // there was no change feed
}

// nearCachesUsed tells whether a near cache may show what was before a change that was
// over at the given time. Not if none was in use shortly before, or is after it. Who
// cannot tell says yes.
func (c *Cache[T]) nearCachesUsed(ctx context.Context, over nearcache.Instant) bool {
	u := &c.shared.use
	u.mu.Lock()
	used, notUsed := over.Within(u.used, usedFor), over.Within(u.notUsed, notUsedFor)
	u.mu.Unlock()
	switch {
	case used:
		return true
	case notUsed:
		return false
	}
	used, err := u.ask.Do(ctx, struct{}{})
	return used || err != nil
}

// askForUse has those who wait for the answer ask together.
func (c *Cache[T]) askForUse() {
	u := &c.shared.use
	u.ask = coalesce.Group[struct{}, bool]{
		Limit:  batchLimit,
		Single: func(ctx context.Context, _ struct{}) (bool, error) { return c.readUse(ctx) },
		Batch: func(ctx context.Context, calls []coalesce.Call[struct{}, bool]) {
			used, err := c.readUse(ctx)
			for i := range calls {
				calls[i].Value, calls[i].Err = used, err
			}
		},
	}
	u.ask.Share(coalesce.NewSlots(1, nil))
}

func (c *Cache[T]) readUse(ctx context.Context) (used bool, err error) {
	if c.inCallersTx() { // which may show what was long ago
		return true, nil
	}
	u := &c.shared.use
	asked := nearcache.Now()
	if u.unfed.Load() {
		fed, err := c.queries.HasChangeFeed(ctx)
		if err != nil {
			return false, err
		}
		u.unfed.Store(!fed)
	}
	var use db.GetNearCacheUseRow
	if !u.unfed.Load() {
		use, err = c.queries.GetNearCacheUse(ctx)
		u.unfed.Store(hasCode(err, undefinedTable))
	}
	switch {
	case u.unfed.Load(): // then there is no near cache
	case err != nil:
		return false, err
	case use.InRecovery: // which may be behind
		return true, nil
	default:
		used = use.Used
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	if used {
		u.used, u.notUsed = nearcache.Now(), nearcache.Instant{}
	} else {
		u.used, u.notUsed = nearcache.Instant{}, asked
	}
	return used, nil
}
