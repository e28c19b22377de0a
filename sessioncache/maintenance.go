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

	// LargestUser is the largest number of sessions, live and expired, that one user has in
	// one audience.
	LargestUser int64
}

// Stats counts the sessions. It reads the indexes, not the users, which takes about a
// second for a few million sessions. Call it once a minute, for example, not once a
// request.
func (s *store) Stats(ctx context.Context) (Stats, error) {
	row, err := retryRead(ctx, s, func(ctx context.Context, queries *db.Queries) (*db.GetSessionStatsRow, error) {
		return queries.GetSessionStats(ctx)
	})
	if err != nil {
		return Stats{}, interpret("stats", err)
	}
	return Stats{
		Live: row.Live, Expired: row.Expired, OldestExpired: duration(row.OldestExpiredMicros), LargestUser: row.LargestUser,
	}, nil
}

// Reindex rebuilds the table's indexes (REINDEX CONCURRENTLY), which grow as rows come
// and go. All other calls go on meanwhile, except another Reindex: PostgreSQL may end
// one of the two as a deadlock. Reindex cannot run in a transaction.
func (s *store) Reindex(ctx context.Context) error {
	return interpret("reindex", s.queries.ReindexSessions(ctx))
}

// DeleteAudience ends every session of the Cache's audience, and returns how many rows it
// deleted, expired sessions included.
func (s *store) DeleteAudience(ctx context.Context) (n int64, err error) {
	n, err = retryWrite(ctx, s, func(ctx context.Context, queries *db.Queries) (int64, error) {
		return queries.DeleteAudienceSessions(ctx, s.config.audience)
	})
	if err = interpret("delete the audience's sessions", err); err == nil {
		s.logCount(ctx, "sessions of the audience deleted", n)
	}
	return n, s.await(ctx, err)
}
