package sessioncache

import (
	"context"

	"github.com/rhaptos/sessiondb/db"
	"github.com/rhaptos/sessiondb/sessioncache/sid"
)

// UserSessions lists the live sessions of a user, newest first: those with a token
// whose stored JSON has this user_id at its top level. Anonymous sessions are not
// listed. Plain sessions are not listed either, because they have no handle. A user
// without sessions has an empty list. The State is [StateUnreadable] where T does not
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

// DeleteUserSessions ends the sessions of a user, except those that handles name: log
// out everywhere, or everywhere else. It also ends plain and anonymous sessions. It
// returns how many rows it deleted; rows of expired and of replaced sessions count.
//
// It ends a session that is being renewed at the same moment. It may miss a session
// that is being issued: a login that has checked the old password, and stores its
// session after the deletion. Where that matters, let the login read the user's own row
// FOR SHARE and the password change update that row, each in one transaction with its
// session calls (see sessionhttp's Manager.Tx).
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
	n, err = retryWrite(ctx, c, func(ctx context.Context, queries *db.Queries) (int64, error) {
		return queries.DeleteUserSessions(ctx, db.DeleteUserSessionsParams{
			Audience: c.config.audience, UserID: userID, ExceptHandles: ids,
		})
	})
	if err != nil {
		return 0, interpret(op, err)
	}
	c.logCount(ctx, "sessions of a user deleted", n)
	return n, c.propagate(ctx, nil)
}
