package queries_test

import (
	"reflect"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/rhaptos/sessiondb/db"
	"github.com/rhaptos/sessiondb/sessioncache/sessiontest"
	"github.com/rhaptos/sessiondb/sid"
)

func TestUserQueries(t *testing.T) {
	t.Parallel()
	inEveryMode(t, func(t *testing.T, q *db.Queries, pool *pgxpool.Pool) {
		ctx := t.Context()
		tag := sid.New().String()
		user, theirs := "O'Neil\\"+tag, `{"user_id": "O'Neil\\`+tag+`"}`
		other, nobody := issue(t, q, `{"user_id": "`+sid.New().String()+`"}`), issue(t, q, `{"user_id": null}`)
		plain, anonymous, expired := insert(t, q, theirs), issue(t, q, theirs, true), issue(t, q, theirs)
		sessiontest.Elapse(t, pool, expired, 2*time.Hour)
		var issued []sid.ID
		for minutes := range 5 {
			id := issue(t, q, theirs)
			sessiontest.Elapse(t, pool, id, time.Duration(minutes)*time.Minute)
			issued = append(issued, id) // the newest first
		}
		wantList := func(want ...sid.ID) {
			t.Helper()
			list, err := q.ListUserSessions(ctx, db.ListUserSessionsParams{Audience: audience, UserID: user})
			if err != nil || len(list) != len(want) {
				t.Fatalf("ListUserSessions = %d sessions, %v; want %d", len(list), err, len(want))
			}
			for i, row := range list {
				one, _ := get(t, q, row.SessionID)
				listed := db.GetSessionRow(*row)
				listed.NowMicros = one.NowMicros
				if row.SessionID != want[i] || string(row.UserDict) != theirs || !reflect.DeepEqual(listed, *one) {
					t.Errorf("session %d of the list is %+v; want %s: %+v", i, row, want[i], one)
				}
			}
		}
		wantList(issued...)

		err := pgx.BeginFunc(ctx, pool, func(tx pgx.Tx) error {
			q := q.WithTx(tx)
			if err := q.LockUser(ctx, db.LockUserParams{Audience: audience, UserID: user}); err != nil {
				return err
			}
			wantIDs(t, "DeleteOldestUserSessions", 2)(q.DeleteOldestUserSessions(ctx, db.DeleteOldestUserSessionsParams{
				Audience: audience, UserID: user, Newest: issued[0], Keep: 2,
			}))
			return nil
		})
		if err != nil {
			t.Error(err)
		}
		wantList(issued[:3]...)
		level, err := q.GetIsolation(ctx)
		if err != nil || level == "" {
			t.Errorf("GetIsolation = %q, %v", level, err)
		}

		wantEnded(t, "DeleteUserSessions of another audience", 0, 0)(q.DeleteUserSessions(ctx, db.DeleteUserSessionsParams{Audience: "another", UserID: user}))
		for handle, want := range map[sid.ID]int64{other: 0, plain: 0, anonymous: 0, expired: 0, sid.New(): 0} {
			wantRows(t, "DeleteUserSession of none of the user's", want)(q.DeleteUserSession(ctx, db.DeleteUserSessionParams{
				Handle: handle, Audience: audience, UserID: user,
			}))
		}
		spare := issue(t, q, theirs)
		for audience, want := range map[string]int64{"another": 0, audience: 1} {
			wantRows(t, "DeleteUserSession of audience "+audience, want)(q.DeleteUserSession(ctx, db.DeleteUserSessionParams{
				Handle: spare, Audience: audience, UserID: user,
			}))
		}
		wantEnded(t, "DeleteUserSessions but two", 3, 2)(q.DeleteUserSessions(ctx, db.DeleteUserSessionsParams{
			Audience: audience, UserID: user, ExceptHandles: sid.IDs{issued[1], other, issued[2]},
		}))
		wantList(issued[1], issued[2])
		for _, id := range []sid.ID{plain, expired, issued[0]} {
			wantNone(t, q, id)
		}
		wantEnded(t, "DeleteUserSessions but nil", 2, 2)(q.DeleteUserSessions(ctx, db.DeleteUserSessionsParams{Audience: audience, UserID: user}))
		for _, id := range []sid.ID{other, nobody, anonymous} { // a visitor is no user
			if _, ok := get(t, q, id); !ok {
				t.Error("another user's session is gone")
			}
		}
	})
}

// wantEnded expects so many rows to be deleted, and so many of them to have been live.
func wantEnded(t *testing.T, query string, rows, live int) func([]*db.DeleteUserSessionsRow, error) {
	return func(got []*db.DeleteUserSessionsRow, err error) {
		t.Helper()
		was := 0
		for _, row := range got {
			if row.Live {
				was++
			}
		}
		if err != nil || len(got) != rows || was != live {
			t.Errorf("%s = %d rows, %d of them live, %v; want %d and %d", query, len(got), was, err, rows, live)
		}
	}
}
