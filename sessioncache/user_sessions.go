package sessioncache

import (
	"context"

	"github.com/rhaptos/sessiondb/db"
	"github.com/rhaptos/sessiondb/sessioncache/sid"
)

// UserSessions lists the live sessions with a token of a user, newest first: those
// whose stored JSON has this user_id at its top level. Anonymous sessions are not
// among them, and plain ones neither, which have no handle to name them by. A user
// without any has an empty list. A session whose user T does not decode is listed
// as [StateUnreadable].
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

// DeleteUserSessions ends the sessions of a user, all of them or all but those that
// the handles name: log out everywhere, or everywhere else. It ends plain and
// anonymous ones, too, and returns how many rows it deleted, expired and replaced ones that were still
// stored included.
//
// A session that is being renewed at that moment ends as well. One that is being
// issued may not: a login whose password was checked before, and that is stored
// after. Where that matters, have the login read the user's own row FOR SHARE, and the
// change update it, in one transaction with the session (see sessionhttp's Manager.Tx). In a caller's transaction above
// isolation level read committed, which would miss what others have just committed,
// the error is [ErrIsolation].
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
