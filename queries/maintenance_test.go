package queries_test

import (
	"context"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/rhaptos/sessiondb/db"
	"github.com/rhaptos/sessiondb/internal/suite"
	"github.com/rhaptos/sessiondb/sessioncache/sessiontest"
)

func TestMaintenanceQueries(t *testing.T) {
	suite.Require(t, suite.OwnTable)
	t.Parallel()
	inEveryMode(t, func(t *testing.T, q *db.Queries, pool *pgxpool.Pool) {
		ctx := t.Context()
		insertExpired(t, q, pool)
		insert(t, q, `{"user_id": "u"}`)
		issue(t, q, `{"user_id": "u"}`)
		for range 3 {
			insert(t, q, `{"user_id": ""}`) // nobody's
		}

		oldest, err := q.GetOldestExpired(ctx)
		if err != nil || oldest/hour != 72 {
			t.Errorf("GetOldestExpired = %d, %v; want 72 hours", oldest, err)
		}
		stats, err := q.GetSessionStats(ctx)
		if err != nil || stats.Live != 5 || stats.Expired != 3 || stats.OldestExpiredMicros/hour != 72 || stats.LargestUser != 2 {
			t.Errorf("GetSessionStats = %+v, %v; want 5 live, 3 expired, 72 hours, 2 of one user", stats, err)
		}
		wantPurged(t, q.DeleteExpiredSessionsUnlocked)
		if err := q.ReindexSessions(ctx); err != nil {
			t.Error(err)
		}
		wantRows(t, "DeleteAudienceSessions of another", 0)(q.DeleteAudienceSessions(ctx, "another"))
		wantRows(t, "DeleteAudienceSessions", 5)(q.DeleteAudienceSessions(ctx, audience))
		insert(t, q, `{}`)
		wantRows(t, "DeleteAllSessions", 1)(q.DeleteAllSessions(ctx))
		stats, err = q.GetSessionStats(ctx)
		if err != nil || *stats != (db.GetSessionStatsRow{}) {
			t.Errorf("GetSessionStats of an empty table = %+v, %v; want zeros", stats, err)
		}
	})
}

// TestDeleteExpiredSessions locks rows by a condition that is not their key: a
// distributed table refuses.
func TestDeleteExpiredSessions(t *testing.T) {
	suite.Require(t, suite.OwnTable, suite.Undistributed)
	t.Parallel()
	inEveryMode(t, func(t *testing.T, q *db.Queries, pool *pgxpool.Pool) {
		insertExpired(t, q, pool)
		live := insert(t, q, `{}`)
		wantPurged(t, q.DeleteExpiredSessions)
		wantDict(t, q, live, `{}`)
	})
}

// insertExpired inserts three sessions that ended 3, 2 and 1 days ago.
func insertExpired(t *testing.T, q *db.Queries, pool *pgxpool.Pool) {
	t.Helper()
	for _, days := range []int{3, 2, 1} {
		sessiontest.Elapse(t, pool, insert(t, q, `{}`), time.Duration(days)*24*time.Hour+time.Hour)
	}
}

// wantPurged has them deleted, two at a time.
func wantPurged(t *testing.T, deleteExpired func(context.Context, int32) (int64, error)) {
	t.Helper()
	for _, want := range []int64{2, 1, 0} {
		wantRows(t, "expired sessions deleted", want)(deleteExpired(t.Context(), 2))
	}
}
