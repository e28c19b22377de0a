package queries_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/rhaptos/sessiondb/db"
	"github.com/rhaptos/sessiondb/sessioncache/sessiontest"
	"github.com/rhaptos/sessiondb/sessioncache/sid"
)

// modes are all the ways that pgx has to send a query.
var modes = []pgx.QueryExecMode{
	pgx.QueryExecModeCacheStatement,
	pgx.QueryExecModeCacheDescribe,
	pgx.QueryExecModeDescribeExec,
	pgx.QueryExecModeExec,
	pgx.QueryExecModeSimpleProtocol,
}

// inEveryMode runs a test once for each exec mode, on a database of its own.
func inEveryMode(t *testing.T, test func(t *testing.T, q *db.Queries, pool *pgxpool.Pool)) {
	t.Helper()
	for _, mode := range modes {
		t.Run(mode.String(), func(t *testing.T) {
			t.Parallel()
			pool := sessiontest.NewPool(t, func(c *pgxpool.Config) {
				c.ConnConfig.DefaultQueryExecMode = mode
			})
			test(t, db.New(pool), pool)
		})
	}
}

// dict is a user that quoting and escaping could go wrong on; tag keeps the user
// ids of tests that share a table apart.
func dict(tag string) string {
	return `{"user_id": "` + tag + `", "name": "O'Neil \\ \"Ed\" <é> ☃ {a,b} \u0041", "n": 1e3 }`
}

func insert(t *testing.T, q *db.Queries, dict string) sid.ID {
	t.Helper()
	id := sid.New()
	rows, err := q.InsertSession(t.Context(), db.InsertSessionParams{SessionID: id, UserDict: dict, Duration: time.Hour})
	if err != nil || rows != 1 {
		t.Fatalf("InsertSession = %d, %v; want 1 row", rows, err)
	}
	return id
}

func wantDict(t *testing.T, q *db.Queries, id sid.ID, want string) {
	t.Helper()
	got, err := q.GetSession(t.Context(), id)
	if err != nil || string(got) != want {
		t.Errorf("GetSession = %q, %v; want %q", got, err, want)
	}
}

func wantNone(t *testing.T, q *db.Queries, id sid.ID) {
	t.Helper()
	got, err := q.GetSession(t.Context(), id)
	if !errors.Is(err, pgx.ErrNoRows) {
		t.Errorf("GetSession = %q, %v; want no rows", got, err)
	}
}

func TestSessionQueries(t *testing.T) {
	t.Parallel()
	inEveryMode(t, func(t *testing.T, q *db.Queries, pool *pgxpool.Pool) {
		ctx := t.Context()
		tag := sid.New().String()
		id := insert(t, q, dict(tag))
		wantDict(t, q, id, dict(tag))

		rows, err := q.InsertSession(ctx, db.InsertSessionParams{SessionID: id, UserDict: `{}`, Duration: time.Hour})
		if err != nil || rows != 0 {
			t.Errorf("InsertSession of an id that exists = %d, %v; want 0 rows", rows, err)
		}
		wantDict(t, q, id, dict(tag))

		rows, err = q.UpdateSession(ctx, db.UpdateSessionParams{SessionID: id, UserDict: `{"a": 'b'}`})
		if err == nil {
			t.Errorf("UpdateSession with broken JSON = %d, nil; want an error", rows)
		}
		rows, err = q.UpdateSession(ctx, db.UpdateSessionParams{SessionID: id, UserDict: `{"x": 1}`})
		if err != nil || rows != 1 {
			t.Errorf("UpdateSession = %d, %v; want 1 row", rows, err)
		}
		wantDict(t, q, id, `{"x": 1}`)

		err = pgx.BeginFunc(ctx, pool, func(tx pgx.Tx) error {
			got, err := q.WithTx(tx).LockSession(ctx, id)
			if string(got) != `{"x": 1}` {
				t.Errorf("LockSession = %q", got)
			}
			return err
		})
		if err != nil {
			t.Error(err)
		}

		times, err := q.GetSessionTimes(ctx, id)
		if err != nil || times.UserID != nil || !times.Live || times.EndUTC.Sub(times.StartUTC) != time.Hour || times.TimeLeft > time.Hour {
			t.Errorf("GetSessionTimes = %+v, %v; want a live hour of nobody", times, err)
		}

		moved := sid.New()
		rotated, err := q.RotateSession(ctx, db.RotateSessionParams{OldSessionID: id, NewSessionID: moved})
		if err != nil || rotated != moved {
			t.Errorf("RotateSession = %s, %v; want the new id", rotated, err)
		}
		wantNone(t, q, id)
		wantDict(t, q, moved, `{"x": 1}`)

		for _, want := range []int64{1, 0} {
			rows, err = q.DeleteSession(ctx, moved)
			if err != nil || rows != want {
				t.Errorf("DeleteSession = %d, %v; want %d rows", rows, err, want)
			}
		}
		wantNone(t, q, moved)
	})
}

func TestBulkQueries(t *testing.T) {
	t.Parallel()
	inEveryMode(t, func(t *testing.T, q *db.Queries, pool *pgxpool.Pool) {
		ctx := t.Context()
		tag := sid.New().String()
		taken := insert(t, q, `{"was": "here"}`)
		expired := insert(t, q, `{}`)
		shift(t, pool, expired, -time.Hour-time.Second)
		a, b, absent := sid.New(), sid.New(), sid.New()

		stored, err := q.InsertSessions(ctx, db.InsertSessionsParams{
			SessionIDs: sid.IDs{a, taken, b, a},
			UserDicts:  []string{dict(tag), `{}`, `[1, "two"]`, `{"second": "a"}`},
			Duration:   time.Hour,
		})
		if err != nil || len(stored) != 2 || !slices.Contains(stored, a) || !slices.Contains(stored, b) {
			t.Errorf("InsertSessions = %v, %v; want %v and %v", stored, err, a, b)
		}

		rows, err := q.GetSessions(ctx, sid.IDs{b, absent, a, expired, taken, b})
		if err != nil {
			t.Fatal(err)
		}
		if !slices.IsSortedFunc(rows, func(a, b db.GetSessionsRow) int { return a.SessionID.Compare(b.SessionID) }) {
			t.Errorf("GetSessions = %v; want them in order of their ids", rows)
		}
		got := map[sid.ID]string{}
		for _, row := range rows {
			got[row.SessionID] = string(row.UserDict)
		}
		want := map[sid.ID]string{a: dict(tag), b: `[1, "two"]`, taken: `{"was": "here"}`}
		if len(rows) != 3 || got[a] != want[a] || got[b] != want[b] || got[taken] != want[taken] {
			t.Errorf("GetSessions = %v; want %v", got, want)
		}

		n, err := q.DeleteSessions(ctx, sid.IDs{a, absent, taken})
		if err != nil || n != 2 {
			t.Errorf("DeleteSessions = %d, %v; want 2 rows", n, err)
		}

		for name, none := range map[string]sid.IDs{"nil": nil, "empty": {}} {
			if rows, err := q.GetSessions(ctx, none); err != nil || len(rows) != 0 || rows == nil {
				t.Errorf("GetSessions of %s = %v, %v; want an empty list", name, rows, err)
			}
			if n, err := q.DeleteSessions(ctx, none); err != nil || n != 0 {
				t.Errorf("DeleteSessions of %s = %d, %v; want 0", name, n, err)
			}
			stored, err := q.InsertSessions(ctx, db.InsertSessionsParams{SessionIDs: none, UserDicts: []string{}, Duration: time.Hour})
			if err != nil || len(stored) != 0 {
				t.Errorf("InsertSessions of %s = %v, %v; want none", name, stored, err)
			}
		}
	})
}

func TestIdleQueries(t *testing.T) {
	t.Parallel()
	inEveryMode(t, func(t *testing.T, q *db.Queries, pool *pgxpool.Pool) {
		ctx := t.Context()
		fresh, used, expired := insert(t, q, `{"n": 1}`), insert(t, q, `{"n": 2}`), insert(t, q, `{}`)
		shift(t, pool, used, -50*time.Minute)
		shift(t, pool, expired, -61*time.Minute)
		const idle, duration = 30 * time.Minute, 2 * time.Hour

		for id, want := range map[sid.ID]db.GetIdleSessionRow{
			fresh: {UserDict: []byte(`{"n": 1}`)},
			used:  {UserDict: []byte(`{"n": 2}`), Extend: true},
		} {
			got, err := q.GetIdleSession(ctx, db.GetIdleSessionParams{SessionID: id, Duration: duration, ExtendBelow: idle})
			if err != nil || string(got.UserDict) != string(want.UserDict) || got.Extend != want.Extend {
				t.Errorf("GetIdleSession = %s, %v, %v; want %s, %v", got.UserDict, got.Extend, err, want.UserDict, want.Extend)
			}
		}
		rows, err := q.GetIdleSessions(ctx, db.GetIdleSessionsParams{
			SessionIDs: sid.IDs{used, expired, fresh}, Duration: duration, ExtendBelow: idle,
		})
		if err != nil || len(rows) != 2 || rows[0].SessionID.Compare(rows[1].SessionID) >= 0 {
			t.Fatalf("GetIdleSessions = %v, %v; want two in order", rows, err)
		}
		for _, row := range rows {
			if row.Extend != (row.SessionID == used) {
				t.Errorf("GetIdleSessions: extend is %v", row.Extend)
			}
		}
		for _, step := range []struct {
			id   sid.ID
			want int64
		}{{used, 1}, {used, 0}, {fresh, 0}, {expired, 0}, {sid.New(), 0}} {
			n, err := q.ExtendSession(ctx, db.ExtendSessionParams{
				SessionID: step.id, IdleTimeout: idle, Duration: duration, ExtendBelow: idle * 3 / 4,
			})
			if err != nil || n != step.want {
				t.Errorf("ExtendSession = %d, %v; want %d", n, err, step.want)
			}
		}
	})
}

func TestUserQueries(t *testing.T) {
	t.Parallel()
	inEveryMode(t, func(t *testing.T, q *db.Queries, pool *pgxpool.Pool) {
		ctx := t.Context()
		user := "cnxuser:O'Neil\\" + sid.New().String()
		other := insert(t, q, `{"user_id": "`+sid.New().String()+`"}`)
		nobody := insert(t, q, `{"user_id": null}`)
		escaped := `{"user_id": "cnxuser:O'Neil\\` + user[len(`cnxuser:O'Neil\`):] + `"}`
		oldest, middle, newest := insert(t, q, escaped), insert(t, q, escaped), insert(t, q, escaped)

		sessions, err := q.ListUserSessions(ctx, user)
		if err != nil || len(sessions) != 3 {
			t.Fatalf("ListUserSessions = %v, %v; want 3", sessions, err)
		}
		for i, want := range []sid.ID{newest, middle, oldest} {
			if sessions[i].SessionID != want || sessions[i].EndUTC.Sub(sessions[i].StartUTC) != time.Hour {
				t.Errorf("session %d of the list is %v; want %v, an hour long", i, sessions[i], want)
			}
		}

		n, err := q.DeleteUserSessions(ctx, db.DeleteUserSessionsParams{UserID: user, ExceptSessionIDs: sid.IDs{middle, other}})
		if err != nil || n != 2 {
			t.Errorf("DeleteUserSessions but one = %d, %v; want 2", n, err)
		}
		has := func(except ...sid.ID) bool {
			t.Helper()
			has, err := q.HasUserSessions(ctx, db.HasUserSessionsParams{UserID: user, ExceptSessionIDs: except})
			if err != nil {
				t.Error(err)
			}
			return has
		}
		if has(middle) || !has() {
			t.Errorf("HasUserSessions beside the one left = %v, with it = %v; want false and true", has(middle), has())
		}
		n, err = q.DeleteUserSessions(ctx, db.DeleteUserSessionsParams{UserID: user})
		if err != nil || n != 1 {
			t.Errorf("DeleteUserSessions with a nil exception = %d, %v; want 1", n, err)
		}
		if has() {
			t.Error("HasUserSessions = true after all are deleted")
		}
		err = pgx.BeginFunc(ctx, pool, func(tx pgx.Tx) error { return q.WithTx(tx).LockSessions(ctx) })
		if err != nil {
			t.Errorf("LockSessions: %v", err)
		}
		wantDict(t, q, nobody, `{"user_id": null}`)
		if _, err := q.GetSession(ctx, other); err != nil {
			t.Errorf("another user's session: %v", err)
		}
	})
}

// TestMaintenanceQueriesWholeTable needs a table to itself.
func TestMaintenanceQueriesWholeTable(t *testing.T) {
	t.Parallel()
	inEveryMode(t, func(t *testing.T, q *db.Queries, pool *pgxpool.Pool) {
		ctx := t.Context()
		insertExpired(t, q, pool)
		insert(t, q, `{}`)
		insert(t, q, `{}`)

		stats, err := q.GetSessionStats(ctx)
		if err != nil || stats.Live != 2 || stats.Expired != 3 || stats.OldestExpired.Round(time.Hour) != 72*time.Hour {
			t.Errorf("GetSessionStats = %+v, %v; want 2 live, 3 expired, 72h", stats, err)
		}
		wantPurged(t, q.DeleteExpiredSessionsUnlocked)
		if err := q.ReindexSessions(ctx); err != nil {
			t.Error(err)
		}
		n, err := q.DeleteAllSessions(ctx)
		if err != nil || n != 2 {
			t.Errorf("DeleteAllSessions = %d, %v; want 2", n, err)
		}
		stats, err = q.GetSessionStats(ctx)
		if err != nil || stats != (db.GetSessionStatsRow{}) {
			t.Errorf("GetSessionStats of an empty table = %+v, %v; want zeros", stats, err)
		}
	})
}

// TestDeleteExpiredSessionsWholeTableUndistributed locks rows by a condition that
// is not their key: a distributed table refuses.
func TestDeleteExpiredSessionsWholeTableUndistributed(t *testing.T) {
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
		shift(t, pool, insert(t, q, `{}`), -time.Duration(days)*24*time.Hour-time.Hour)
	}
}

// wantPurged has them deleted, two at a time.
func wantPurged(t *testing.T, deleteExpired func(context.Context, int32) (int64, error)) {
	t.Helper()
	for _, want := range []int64{2, 1, 0} {
		n, err := deleteExpired(t.Context(), 2)
		if err != nil || n != want {
			t.Errorf("expired sessions deleted: %d, %v; want %d", n, err, want)
		}
	}
}

// shift moves both times of a session.
func shift(t *testing.T, pool *pgxpool.Pool, id sid.ID, by time.Duration) {
	t.Helper()
	_, err := pool.Exec(context.Background(), `
		UPDATE session_cache
		SET session_startutc = (session_startutc AT TIME ZONE 'UTC' + $1::interval) AT TIME ZONE 'UTC',
		    session_endutc = (session_endutc AT TIME ZONE 'UTC' + $1::interval) AT TIME ZONE 'UTC'
		WHERE sessionid = $2`, by, id)
	if err != nil {
		t.Fatal(err)
	}
}
