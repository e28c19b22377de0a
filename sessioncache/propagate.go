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

// NearCacheStaleness is 250 ms. A near cache ([WithNearCache]) may show what was before
// a change for so long after the change's commit. While near caches are in use, a
// change therefore waits for so long before it returns: Delete, DeleteSession,
// DeleteUserSessions, DeleteAll, Revoke, Retire, Update, UpdateSession, Renew, Issue
// with [MaxSessions], a Set that returns [ErrConflict], and a Tx that changes sessions.
// Lookups and all other Sets and Issues do not wait.
//
// Near caches are in use from the first poll of any server until an operator runs
// sessionctl near-cache off.
//
// The constant cannot be set: all servers must agree on it. It is 50 ms longer than an
// entry of a near cache is valid.
const NearCacheStaleness = nearcache.Fresh + 50*time.Millisecond

// notUsedFor is how long the answer "no near cache is in use" counts. A near cache
// keeps no lookup for [nearcache.Quarantine] after it has registered. A fifth of that
// is for clocks that run at different rates.
const notUsedFor = nearcache.Quarantine * 4 / 5

// usedFor is how long the answer "a near cache is in use" counts.
const usedFor = time.Second

// AwaitNearCaches waits until no near cache on any server shows what was before the
// changes that have been committed. Call it after the commit of your own transaction
// (see [Cache.WithTx]), or after raw SQL. Outside a transaction, calls that have to
// wait do so by themselves ([NearCacheStaleness]). It returns at once if no near cache
// is in use, and after NearCacheStaleness at the latest. It fails only when ctx ends,
// with [ErrNotAwaited].
func (c *Cache[T]) AwaitNearCaches(ctx context.Context) error {
	return c.awaitNearCaches(ctx, nearcache.Now())
}

// propagate waits for near caches at the end of a change that had the result err. It
// waits even if the change found nothing: another caller may have made the same change
// a moment ago and still be waiting. A change in a caller's transaction has not
// happened yet, so it does not wait.
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

// use is what is known about the use of near caches.
type use struct {
	ask coalesce.Group[struct{}, bool]

	mu      sync.Mutex
	used    nearcache.Instant // after the last answer "in use"
	notUsed nearcache.Instant // before the question that was last answered "not in use"

	fed atomic.Bool // there was a change feed
}

// nearCachesUsed tells whether a near cache may show what was before a change that was
// over at the given time. The answer is no if none was in use shortly before that time,
// or is in use after it. Without an answer from the database it is yes.
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

// shareUse sets up that callers who need the answer share one query.
func (c *Cache[T]) shareUse() {
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
	if c.inCallersTx() { // it may have an old snapshot
		return true, nil
	}
	u := &c.shared.use
	asked := nearcache.Now()
	var use db.GetNearCacheUseRow // without a feed there is no near cache
	_, err = c.withFeed(ctx, func() (err error) {
		use, err = c.queries.GetNearCacheUse(ctx)
		return err
	})
	switch {
	case err != nil:
		return false, err
	case use.InRecovery: // it may lag behind
		return true, nil
	}
	used = use.Used
	u.mu.Lock()
	defer u.mu.Unlock()
	if used {
		u.used, u.notUsed = nearcache.Now(), nearcache.Instant{}
	} else {
		u.used, u.notUsed = nearcache.Instant{}, asked
	}
	return used, nil
}

// withFeed runs queries of the change feed, unless there is none. It asks the database until
// there is a feed, because a query of a missing one would write an error to the server's log.
func (c *Cache[T]) withFeed(ctx context.Context, run func() error) (fed bool, err error) {
	known := &c.shared.use.fed
	if !known.Load() {
		if fed, err := c.queries.HasChangeFeed(ctx); err != nil || !fed {
			return false, err
		}
		known.Store(true)
	}
	err = run()
	if hasCode(err, undefinedTable) { // it was migrated away
		known.Store(false)
		return false, nil
	}
	return true, err
}
