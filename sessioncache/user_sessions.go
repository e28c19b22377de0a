package sessioncache

import (
	"context"

	"github.com/rhaptos/sessiondb/db"
	"github.com/rhaptos/sessiondb/sid"
)

// UserSessions lists the live sessions of a user, newest first: sessions with a token
// whose stored user has this user_id at the top level of its JSON. Anonymous sessions
// are not listed. Plain sessions are not listed either, because they have no handle. A
// user without sessions has an empty list. The State is [StateUnreadable] if T does not
// decode the user.
func (c *Cache[T]) UserSessions(ctx context.Context, userID string) ([]Session[T], error) {
	const op = "list the user's sessions"
	if err := checkUserID(op, userID); err != nil {
		return nil, err
	}
	rows, err := retryRead(ctx, c, func(ctx context.Context, queries *db.Queries) ([]db.ListUserSessionsRow, error) {
		return queries.ListUserSessions(ctx, db.ListUserSessionsParams{Audience: c.config.audience, UserID: userID})
	})
	if err != nil {
		return nil, interpret(op, err)
	}
	sessions := make([]Session[T], len(rows))
	for i, r := range rows {
		session := describe[T](&row{
			id: r.SessionID, userID: userID, authenticated: r.Authenticated,
			created: r.Created, expires: r.Expires, deadline: r.Deadline, now: r.Expires - r.TTL,
		}, StateLive)
		if session.User, err = c.decode(op, r.UserDict); err != nil {
			session.State = StateUnreadable
		}
		sessions[i] = session
	}
	return sessions, nil
}

// DeleteUserSessions ends all sessions of a user, except those whose handles are given: log
// out everywhere, or everywhere else. It also ends plain and anonymous sessions. It
// returns how many rows it deleted, including those of expired sessions and of sessions
// that [Cache.Retire] has ended.
//
// It ends a session that is being renewed at the same moment. It may miss a login that
// has checked the old password and stores its session after the deletion. To prevent
// this, run two transactions with [Cache.Tx]: the login reads the user's own row FOR
// SHARE, checks the password and issues the session; the password change updates that
// row and calls DeleteUserSessions. (sessionhttp's Manager.Tx does this for requests.)
//
// In a caller's transaction above isolation level read committed the error is
// [ErrIsolation].
func (c *Cache[T]) DeleteUserSessions(ctx context.Context, userID string, except ...sid.Handle) (n int64, err error) {
	const op = "delete the user's sessions"
	if err := checkUserID(op, userID); err != nil {
		return 0, err
	}
	if err := c.checkIsolation(ctx, op); err != nil {
		return 0, err
	}
	ids := make(sid.IDs, len(except))
	for i, handle := range except {
		ids[i] = sid.ID(handle)
	}
	ended, err := retryWrite(ctx, c, func(ctx context.Context, queries *db.Queries) ([]sid.ID, error) {
		return queries.DeleteUserSessions(ctx, db.DeleteUserSessionsParams{
			Audience: c.config.audience, UserID: userID, ExceptHandles: ids,
		})
	})
	if err != nil {
		return 0, c.await(ctx, interpret(op, err)) // any of them may have ended
	}
	c.logCount(ctx, "sessions of a user deleted", int64(len(ended)))
	return int64(len(ended)), c.await(ctx, nil, ended...)
}
