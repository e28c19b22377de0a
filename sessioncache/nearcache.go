package sessioncache

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/rhaptos/sessiondb/sessioncache/internal/changefeed"
	"github.com/rhaptos/sessiondb/sessioncache/internal/nearcache"
	"github.com/rhaptos/sessiondb/sid"
)

// WithNearCache has Get and Authenticate answer from memory, which holds up to entries
// sessions. A lookup that begins after a change of the session has returned, on any
// server, never shows what was before the change. For this, changes take
// [NearCacheStaleness] longer while a near cache is in use on any server. A change by
// raw SQL is seen within that time. After a caller's own transaction, call
// [Cache.AwaitNearCaches].
//
// All callers get the same user: do not change what its pointers, maps and slices refer
// to, or set [WithClone]. While the near cache is used, a goroutine polls the change
// feed (migration 3) ten times a second. Without a feed (on Citus, on a replica, before
// the migration), or while the database does not answer, every lookup asks the
// database; the log says so once. Only a Cache on a pool has a near cache.
// WithNearCache panics if entries is below one.
//
// Default: every lookup asks the database.
func WithNearCache(entries int) Option {
	if entries < 1 {
		panic(fmt.Sprintf("sessioncache: WithNearCache: %d is no number of sessions", entries))
	}
	return func(c *config) { c.nearEntries = entries }
}

// WithClone gives each caller a copy of a user that the near cache holds. A copy must
// not share with its original anything that a caller changes. WithClone panics if the
// function is nil. New panics if the function is for another type than the Cache's.
//
// Default: all callers get the same value. What its pointers, maps and slices refer to
// is shared.
func WithClone[T any](clone func(user T) T) Option {
	if clone == nil {
		panic("sessioncache: WithClone: the function is nil")
	}
	return func(c *config) { c.clone = clone }
}

// near is the near cache of a Cache.
type near[T any] struct {
	memory *nearcache.Cache[kept[T]]
	clone  func(T) T
}

// kept is a session in memory: the decoded user, and its row without the dict. The
// fields that a hit of Get reads come first, so that they share a cache line with the
// entry.
type kept[T any] struct {
	user  T
	plain bool
	row   row
}

// newNear returns nil unless the options ask for a near cache.
func newNear[T any](c *Cache[T]) *near[T] {
	n := &near[T]{clone: func(user T) T { return user }}
	if c.config.clone != nil {
		clone, ok := c.config.clone.(func(T) T)
		if !ok {
			panic(fmt.Sprintf("sessioncache: New: WithClone clones a user of another type: %T", c.config.clone))
		}
		n.clone = clone
	}
	if _, ok := c.db.(*pgxpool.Pool); !ok || c.config.nearEntries == 0 {
		return nil
	}
	n.memory = nearcache.New[kept[T]](nearcache.Config{
		Entries: c.config.nearEntries,
		Feed:    &feed{changes: changefeed.New(c.queries)},
		Report:  c.reportFeed,
	})
	return n
}

// get returns a session from memory, and how long ago it was looked up, or nil.
func (n *near[T]) get(ctx context.Context, id sid.ID) (*kept[T], time.Duration) {
	if n == nil {
		return nil, 0
	}
	k, age, _ := n.memory.Get(ctx, id)
	return k, age
}

// keep stores a live session in memory that a lookup has found.
func (n *near[T]) keep(r *row, user T) {
	if n == nil {
		return
	}
	k := kept[T]{user: n.clone(user), plain: r.isPlain(), row: *r}
	k.row.userDict = nil
	n.memory.Keep(r.ticket, r.server, r.server == 0, r.id, &k, r.keepFor())
}

// ticket marks the time of a lookup. It is taken before the lookup is sent.
func (c *Cache[T]) ticket() nearcache.Ticket {
	if c.near == nil {
		return nearcache.Ticket{}
	}
	return c.near.memory.Begin()
}

// reportFeed logs that the change feed does not work, or works again.
func (c *Cache[T]) reportFeed(err error) {
	switch {
	case err == nil:
		c.config.logger.Info("near cache works")
	case errors.Is(err, changefeed.ErrTurnedOff):
		c.config.logger.Warn("near cache turned off: every lookup asks the database")
	default:
		c.config.logger.Warn("near cache without a change feed: every lookup asks the database", slog.Any("error", withoutValues(err)))
	}
}

// feed adapts the change feed to package nearcache.
type feed struct {
	changes *changefeed.Feed
	last    changefeed.Poll
	applied changefeed.Identity
}

func (f *feed) Poll(ctx context.Context) (nearcache.Changes, error) {
	poll, err := f.changes.Poll(ctx)
	if err != nil {
		return nearcache.Changes{}, err
	}
	f.last = poll
	return nearcache.Changes{
		Server: poll.ServerStart, Reset: poll.Reset, Quarantine: poll.Identity != f.applied, Changed: poll.Changed,
	}, nil
}

func (f *feed) Applied() {
	f.changes.Applied(f.last)
	f.applied = f.last.Identity
}
