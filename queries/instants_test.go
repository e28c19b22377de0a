package queries_test

import (
	"context"
	"reflect"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/rhaptos/sessiondb/db"
	"github.com/rhaptos/sessiondb/internal/suite"
	"github.com/rhaptos/sessiondb/sid"
)

// undone runs do in a transaction, or a savepoint of one, that is rolled back.
func undone(t *testing.T, begin func(context.Context) (pgx.Tx, error), do func(tx pgx.Tx)) {
	t.Helper()
	tx, err := begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	do(tx)
	if err := tx.Rollback(t.Context()); err != nil {
		t.Error(err)
	}
}

// TestInstants runs the queries at the very instants at which sessions begin and end. A
// session is live at both.
func TestInstants(t *testing.T) {
	suite.Require(t, suite.OwnTable, suite.Undistributed)
	t.Parallel()
	inEveryMode(t, func(t *testing.T, q *db.Queries, pool *pgxpool.Pool) {
		ctx := t.Context()
		const dict = `{"user_id": "u"}`
		plain, user, visitor := insert(t, q, dict), issue(t, q, dict), issue(t, q, dict, true)
		for _, instant := range []struct {
			name        string
			begun, left int64 // microseconds since the start and until the end
		}{
			{"a microsecond before the start", -1, hour},
			{"the start", 0, hour},
			{"in between", 1_234_567, 7_654_321},
			{"the end", hour, 0},
			{"a microsecond after the end", hour, -1},
		} {
			undone(t, pool.Begin, func(tx pgx.Tx) {
				tx = suite.OneClock{Tx: tx}
				var now int64
				err := tx.QueryRow(ctx, "SELECT (extract(epoch FROM now()) * 1000000)::bigint").Scan(&now)
				if err != nil {
					t.Fatal(err)
				}
				start, end := -time.Duration(instant.begun)*time.Microsecond, time.Duration(instant.left)*time.Microsecond
				for _, id := range []sid.ID{plain, user, visitor} {
					suite.SetTimes(t, tx, id, start, end, end)
				}
				rowsIf := func(does bool, rows int64) int64 {
					if does {
						return rows
					}
					return 0
				}
				begun, ended := instant.begun >= 0, instant.left < 0
				live := rowsIf(begun && !ended, 1)
				want := func(query string, rows int64, do func(q *db.Queries) (int64, error)) {
					t.Helper()
					undone(t, tx.Begin, func(savepoint pgx.Tx) {
						t.Helper()
						got, err := do(db.New(savepoint))
						wantRows(t, instant.name+": "+query, rows)(got, err)
					})
				}

				rows, err := db.New(tx).GetSessions(ctx, db.GetSessionsParams{SessionIDs: sid.IDs{plain, user, visitor}, Audience: audience})
				if err != nil || int64(len(rows)) != rowsIf(begun, 3) {
					t.Errorf("%s: GetSessions = %d rows, %v", instant.name, len(rows), err)
				}
				for _, stored := range rows {
					row := (*db.GetSessionRow)(stored)
					if row.CreatedMicros != now-instant.begun || row.ExpiresMicros != now+instant.left || row.DeadlineMicros != row.ExpiresMicros || row.NowMicros != now {
						t.Errorf("%s: GetSessions has %+v at %d", instant.name, row, now)
					}
					got, err := db.New(tx).GetSession(ctx, db.GetSessionParams{SessionID: row.SessionID, Audience: audience})
					if err != nil || !reflect.DeepEqual(got, row) {
						t.Errorf("%s: GetSession = %+v, %v; want %+v", instant.name, got, err, row)
					}
				}
				want("GetSession", rowsIf(begun, 1), func(q *db.Queries) (int64, error) {
					_, err := q.GetSession(ctx, db.GetSessionParams{SessionID: plain, Audience: audience})
					return one(err)
				})
				for id, key := range map[sid.ID][]byte{plain: nil, user: secret("a")} {
					want("UpdateSession", rowsIf(!ended, 1), func(q *db.Queries) (int64, error) {
						_, err := q.UpdateSession(ctx, db.UpdateSessionParams{SessionID: id, Audience: audience, Secret: key, UserDict: dict, OldUserDict: dict})
						return one(err)
					})
				}
				want("LockSession", live, func(q *db.Queries) (int64, error) {
					_, err := q.LockSession(ctx, db.LockSessionParams{Handle: user, Audience: audience, Secret: secret("a")})
					return one(err)
				})
				want("RenewSession", live, func(q *db.Queries) (int64, error) {
					return q.RenewSession(ctx, db.RenewSessionParams{Handle: user, Audience: audience, Secret: secret("a"), NewSecret: secret("b")})
				})
				want("ReauthenticateSession", live, func(q *db.Queries) (int64, error) {
					return q.ReauthenticateSession(ctx, db.ReauthenticateSessionParams{
						Handle: user, Audience: audience, Secret: secret("a"), NewSecret: secret("b"),
					})
				})
				want("RetireSession", live, func(q *db.Queries) (int64, error) {
					return q.RetireSession(ctx, db.RetireSessionParams{
						Handle: visitor, Audience: audience, Secret: secret("a"), NewSecret: secret("b"), Grace: time.Minute,
					})
				})
				want("ListUserSessions", live, func(q *db.Queries) (int64, error) {
					list, err := q.ListUserSessions(ctx, db.ListUserSessionsParams{Audience: audience, UserID: "u"})
					for _, row := range list {
						if row.NowMicros != now || row.CreatedMicros != now-instant.begun || row.AuthenticatedMicros != row.CreatedMicros || row.ExpiresMicros != now+instant.left {
							t.Errorf("%s: ListUserSessions has %+v at %d", instant.name, row, now)
						}
					}
					return int64(len(list)), err
				})
				want("DeleteOldestUserSessions", rowsIf(!ended, 1), func(q *db.Queries) (int64, error) {
					ended, err := q.DeleteOldestUserSessions(ctx, db.DeleteOldestUserSessionsParams{Audience: audience, UserID: "u", Newest: sid.New()})
					return int64(len(ended)), err
				})
				want("DeleteUserSession", rowsIf(!ended, 1), func(q *db.Queries) (int64, error) {
					return q.DeleteUserSession(ctx, db.DeleteUserSessionParams{Handle: user, Audience: audience, UserID: "u"})
				})
				want("DeleteExpiredSessions", rowsIf(ended, 3), func(q *db.Queries) (int64, error) { return q.DeleteExpiredSessions(ctx, 10) })
				want("DeleteExpiredSessionsUnlocked", rowsIf(ended, 3), func(q *db.Queries) (int64, error) {
					return q.DeleteExpiredSessionsUnlocked(ctx, 10)
				})
				want("GetOldestExpired", rowsIf(ended, 1), func(q *db.Queries) (int64, error) { return q.GetOldestExpired(ctx) })
				stats, err := db.New(tx).GetSessionStats(ctx)
				if err != nil || stats.Live != rowsIf(!ended, 3) || stats.Expired != rowsIf(ended, 3) || stats.OldestExpiredMicros != rowsIf(ended, 1) {
					t.Errorf("%s: GetSessionStats = %+v, %v", instant.name, stats, err)
				}
			})
		}
	})
}

// TestSuperseded uses former tokens of a session at the last instant of the grace and
// after it, and of so many renewals ago: which of them end the session?
func TestSuperseded(t *testing.T) {
	suite.Require(t, suite.Undistributed)
	t.Parallel()
	inEveryMode(t, func(t *testing.T, q *db.Queries, pool *pgxpool.Pool) {
		ctx := t.Context()
		for name, test := range map[string]struct {
			renewals, number int32
			age              int64 // of the last renewal, in microseconds
			reauthenticated  bool
			revoked, stolen  int64
		}{
			"in flight, at the end of the grace":  {1, 0, minute, false, 1, 0},
			"in flight, re-authenticated":         {1, 0, minute, true, 1, 0},
			"after the grace":                     {1, 0, minute + 1, false, 1, 1},
			"after the grace, re-authenticated":   {1, 0, minute + 1, true, 0, 0},
			"three renewals ago":                  {3, 0, 0, false, 1, 0},
			"four renewals ago":                   {4, 0, 0, false, 1, 1},
			"four renewals ago, re-authenticated": {4, 0, 0, true, 0, 0},
			"of the row's own number":             {4, 4, 2 * minute, false, 0, 0},
			"ahead of the row":                    {4, 5, 2 * minute, false, 0, 0},
			"never renewed":                       {0, 65_535, 2 * minute, false, 0, 0},
			"across the end of the numbers":       {65_537, 65_535, minute, false, 1, 0},
			"too old to be told from one ahead":   {70_000, (70_000 - 32_768) % 65_536, 2 * minute, false, 0, 0},
			"as old as can be told":               {70_000, (70_000 - 32_767) % 65_536, 2 * minute, false, 1, 1},
		} {
			handle := issue(t, q, `{}`)
			undone(t, pool.Begin, func(tx pgx.Tx) {
				tx = suite.OneClock{Tx: tx}
				if _, err := tx.Exec(ctx, `
					UPDATE session_cache
					SET renewals = $1,
					    renewedutc = CASE WHEN $1 > 0 THEN now() - $2::bigint * interval '1 microsecond' END,
					    authenticatedutc = CASE WHEN $3::boolean THEN now() - $2::bigint * interval '1 microsecond' ELSE session_startutc END
					WHERE sessionid = $4::text::uuid`, test.renewals, test.age, test.reauthenticated, handle.String()); err != nil {
					t.Fatal(err)
				}
				for family, ends := range map[string]int64{"family": 1, "another": 0} {
					undone(t, tx.Begin, func(savepoint pgx.Tx) {
						wantRows(t, "RevokeSession, "+name, ends*test.revoked)(db.New(savepoint).RevokeSession(ctx, db.RevokeSessionParams{
							Handle: handle, Audience: audience, Secret: secret("b"), Family: secret(family), Renewals: test.number, Grace: time.Minute,
						}))
					})
					undone(t, tx.Begin, func(savepoint pgx.Tx) {
						wantRows(t, "DeleteStolenSession, "+name, ends*test.stolen)(db.New(savepoint).DeleteStolenSession(ctx, db.DeleteStolenSessionParams{
							Handle: handle, Audience: audience, Family: secret(family), Renewals: test.number, Grace: time.Minute,
						}))
					})
				}
				wantRows(t, "RevokeSession of another audience", 0)(db.New(tx).RevokeSession(ctx, db.RevokeSessionParams{
					Handle: handle, Audience: "another", Secret: secret("a"), Family: secret("family"), Grace: time.Minute,
				}))
				wantRows(t, "RevokeSession", 1)(db.New(tx).RevokeSession(ctx, db.RevokeSessionParams{
					Handle: handle, Audience: audience, Secret: secret("a"), Family: secret("another"), Grace: time.Minute,
				}))
			})
		}
	})
}
