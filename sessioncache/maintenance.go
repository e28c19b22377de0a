package sessioncache

import (
	"context"
	"time"

	"github.com/rhaptos/sessiondb/db"
)

// purgeBatch is how many rows one statement of Purge deletes: few enough that it
// is over in milliseconds.
const purgeBatch = 1000

// Stats counts what the table holds, by the database's clock.
type Stats struct {
	Live    int64 // sessions that Get finds
	Expired int64 // sessions that have ended and wait for Purge

	// OldestExpired is how long ago the oldest expired session has ended, and zero
	// when none is stored: how far Purge is behind.
	OldestExpired time.Duration
}

// Purge removes expired sessions from the table, oldest first and in small
// batches, and returns how many. Nothing but disk space depends on it: Get never
// returns an expired session. Any number of processes may purge at once; none
// waits for another.
//
// Outside a transaction each batch is one of its own, and those that are done
// stay done when Purge ends with an error.
func (c *Cache[T]) Purge(ctx context.Context) (n int64, err error) {
	for {
		purged, err := retryUnsent(ctx, c, func(ctx context.Context) (int64, error) {
			return c.queries.DeleteExpiredSessions(ctx, purgeBatch)
		})
		n += purged
		if err != nil {
			return n, interpret("purge", err)
		}
		if purged < purgeBatch {
			c.logCount(ctx, "expired sessions purged", n)
			return n, nil
		}
	}
}

// Stats counts the sessions. It reads the whole table: once a minute is fine,
// once a request is not.
func (c *Cache[T]) Stats(ctx context.Context) (Stats, error) {
	row, err := retryRead(ctx, c, func(ctx context.Context) (db.GetSessionStatsRow, error) {
		return c.queries.GetSessionStats(ctx)
	})
	if err != nil {
		return Stats{}, interpret("stats", err)
	}
	return Stats(row), nil
}

// Reindex rebuilds the table's indexes (REINDEX CONCURRENTLY), which grow under
// rows that come and go. Everything else goes on meanwhile, but for another
// Reindex: PostgreSQL may end one of the two as a deadlock. It cannot run in a
// transaction.
func (c *Cache[T]) Reindex(ctx context.Context) error {
	return interpret("reindex", c.queries.ReindexSessions(ctx))
}

// DeleteAll ends every session of everybody, and returns how many it deleted,
// expired ones included.
func (c *Cache[T]) DeleteAll(ctx context.Context) (n int64, err error) {
	n, err = retryUnsent(ctx, c, func(ctx context.Context) (int64, error) {
		return c.queries.DeleteAllSessions(ctx)
	})
	if err != nil {
		return 0, interpret("delete all sessions", err)
	}
	c.logCount(ctx, "all sessions deleted", n)
	return n, nil
}
