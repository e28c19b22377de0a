package sessioncache

import (
	"context"
	"time"

	"github.com/rhaptos/sessiondb/db"
)

// Stats counts what the table holds of all audiences, by the database's clock.
type Stats struct {
	Live    int64 // sessions that have not ended
	Expired int64 // sessions that have, and wait for Purge

	// OldestExpired is how long ago the oldest expired session has ended, and zero
	// when none is stored: how far Purge is behind.
	OldestExpired time.Duration

	// MostOfOneUser is how many sessions, live and expired, the user with the most
	// has stored in one audience.
	MostOfOneUser int64
}

// Stats counts the sessions. It reads the indexes, not the users: a second or so
// for a few million sessions. Once a minute is fine, once a request is not.
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

// FeedStats tells about the change feed (migration 3), which near caches read.
type FeedStats struct {
	Changes int64 // that have not been purged
	Bytes   int64 // that they take, with their index

	// Age is for how long Purge has not moved the time up to which changes are purged. It
	// does that every ten minutes at most. More than half an hour says that nobody purges.
	Age time.Duration

	// NearCaches is "used" while changes wait for near caches, "draining" while these are
	// being turned off, "off" since then, and "unused" if none has ever been in use.
	NearCaches string
}

// FeedStats counts the changes in the feed. ok is false where there is none: before the
// migration, or on Citus. It needs SELECT on session_change and session_change_state.
func (c *Cache[T]) FeedStats(ctx context.Context) (stats FeedStats, ok bool, err error) {
	const op = "feed stats"
	var row db.GetChangeFeedStatsRow
	err = c.inTx(ctx, func(queries *db.Queries) error { // a savepoint of a caller's, which has to go on without a feed
		row, err = queries.GetChangeFeedStats(ctx)
		return err
	})
	switch {
	case hasCode(err, undefinedTable):
		return FeedStats{}, false, nil
	case err != nil:
		return FeedStats{}, false, interpret(op, err)
	}
	return FeedStats{Changes: row.Changes, Bytes: row.Bytes, Age: duration(row.CandidateAge), NearCaches: row.NearCaches}, true, nil
}

// Reindex rebuilds the table's indexes (REINDEX CONCURRENTLY), which grow under
// rows that come and go. Everything else goes on meanwhile, but for another
// Reindex: PostgreSQL may end one of the two as a deadlock. It cannot run in a
// transaction.
func (c *Cache[T]) Reindex(ctx context.Context) error {
	return interpret("reindex", c.queries.ReindexSessions(ctx))
}

// DeleteAll ends every session of everybody in the Cache's audience, and returns how
// many it deleted, expired ones included.
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
