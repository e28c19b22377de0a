package sessioncache

import (
	"context"
	"time"

	"github.com/rhaptos/sessiondb/db"
)

// Stats counts the sessions of all audiences in the table, by the database's clock.
type Stats struct {
	Live    int64 // live sessions
	Expired int64 // expired sessions that Purge has not removed yet

	// OldestExpired is the time since the oldest expired session ended: how far Purge is
	// behind. It is zero if there is none.
	OldestExpired time.Duration

	// MostOfOneUser is the largest number of sessions, live and expired, that one user
	// has in one audience.
	MostOfOneUser int64
}

// Stats counts the sessions. It reads the indexes, not the users, which takes about a
// second for a few million sessions. Call it once a minute, for example, not once a
// request.
func (c *Cache[T]) Stats(ctx context.Context) (Stats, error) {
	row, err := retryRead(ctx, c, func(ctx context.Context, queries *db.Queries) (db.GetSessionStatsRow, error) {
		return queries.GetSessionStats(ctx)
	})
	if err != nil {
		return Stats{}, interpret("stats", err)
	}
	return Stats{
		Live: row.Live, Expired: row.Expired, OldestExpired: duration(row.OldestExpired), MostOfOneUser: row.MostOfOneUser,
	}, nil
}

// Reindex rebuilds the table's indexes (REINDEX CONCURRENTLY), which grow as rows come
// and go. All other calls go on meanwhile, except another Reindex: PostgreSQL may end
// one of the two as a deadlock. Reindex cannot run in a transaction.
func (c *Cache[T]) Reindex(ctx context.Context) error {
	return interpret("reindex", c.queries.ReindexSessions(ctx))
}

// DeleteAll ends every session of the Cache's audience, and returns how many rows it
// deleted, expired sessions included.
func (c *Cache[T]) DeleteAll(ctx context.Context) (n int64, err error) {
	n, err = retryWrite(ctx, c, func(ctx context.Context, queries *db.Queries) (int64, error) {
		return queries.DeleteAudienceSessions(ctx, c.config.audience)
	})
	if err = interpret("delete all sessions", err); err == nil {
		c.logCount(ctx, "all sessions deleted", n)
	}
	return n, c.await(ctx, err)
}
