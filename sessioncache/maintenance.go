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

// FeedStats describes the change feed (migration 3), which near caches read.
type FeedStats struct {
	Changes int64 // changes that Purge has not removed yet
	Bytes   int64 // size of the changes with their index

	// Age is the time since Purge last chose which changes may be removed. It does so at
	// most once in ten minutes. An Age far above the interval of your purges means that
	// nothing purges.
	Age time.Duration

	// NearCaches is "unused" until a near cache polls for the first time, and "used" from
	// then on: changes wait, even when no near cache runs any more. It is "draining" while
	// sessionctl near-cache off runs, and "off" after it.
	NearCaches string
}

// FeedStats counts the changes in the feed. ok is false if there is no feed: before the
// migration, or on Citus. It needs SELECT on session_change and session_change_state.
func (c *Cache[T]) FeedStats(ctx context.Context) (stats FeedStats, ok bool, err error) {
	const op = "feed stats"
	var row db.GetChangeFeedStatsRow
	ok, err = c.withFeed(ctx, func() error {
		// In a caller's transaction a savepoint: without a feed the transaction must go on.
		return c.inTx(ctx, func(queries *db.Queries) (err error) {
			row, err = queries.GetChangeFeedStats(ctx)
			return err
		})
	})
	if err != nil || !ok {
		return FeedStats{}, false, interpret(op, err)
	}
	return FeedStats{Changes: row.Changes, Bytes: row.Bytes, Age: duration(row.CandidateAge), NearCaches: row.NearCaches}, true, nil
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
	if err != nil {
		return 0, interpret("delete all sessions", err)
	}
	c.logCount(ctx, "all sessions deleted", n)
	return n, c.propagate(ctx, nil)
}
