package queries_test

import (
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
				if row.SessionID != want[i] || string(row.UserDict) != theirs || row.Created != one.Created || row.Expires != one.Expires ||
					row.Deadline != one.Deadline || row.Authenticated != one.Authenticated || row.TTL < one.TTL {
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

		wantIDs(t, "DeleteUserSessions of another audience", 0)(q.DeleteUserSessions(ctx, db.DeleteUserSessionsParams{Audience: "another", UserID: user}))
		wantIDs(t, "DeleteUserSessions but two", 4)(q.DeleteUserSessions(ctx, db.DeleteUserSessionsParams{
			Audience: audience, UserID: user, ExceptHandles: sid.IDs{issued[1], other, issued[2]},
		}))
		wantList(issued[1], issued[2])
		for _, id := range []sid.ID{plain, anonymous, expired, issued[0]} {
			wantNone(t, q, id)
		}
		wantIDs(t, "DeleteUserSessions but nil", 2)(q.DeleteUserSessions(ctx, db.DeleteUserSessionsParams{Audience: audience, UserID: user}))
		for _, id := range []sid.ID{other, nobody} {
			if _, ok := get(t, q, id); !ok {
				t.Error("another user's session is gone")
			}
		}
	})
}
