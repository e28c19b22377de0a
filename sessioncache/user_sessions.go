package sessioncache

import (
	"context"

	"github.com/rhaptos/sessiondb/db"
	"github.com/rhaptos/sessiondb/sid"
)

// UserSessions lists the live sessions of a user, newest first, at most a thousand: sessions
// with a token whose stored user has this user_id at the top level of its JSON. Anonymous sessions
// are not listed. Plain sessions are not listed either, because they have no handle. A
// user without sessions has an empty list. The State is [StateUnreadable] if T does not
// decode the user.
func (c *Cache[T]) UserSessions(ctx context.Context, userID string) ([]Session[T], error) {
	const op = "list the user's sessions"
	if err := checkUserID(op, userID); err != nil {
		return nil, err
	}
	rows, err := retryRead(ctx, c.store, func(ctx context.Context, queries *db.Queries) ([]*db.ListUserSessionsRow, error) {
		return queries.ListUserSessions(ctx, db.ListUserSessionsParams{Audience: c.config.audience, UserID: userID})
	})
	if err != nil {
		return nil, interpret(op, err)
	}
	sessions := make([]Session[T], len(rows))
	for i, r := range rows {
		session := describe[T](&row{GetSessionRow: (*db.GetSessionRow)(r)}, StateLive)
		if session.User, err = c.decode(op, r.UserDict); err != nil {
			session.State = StateUnreadable
		}
		sessions[i] = session
	}
	return sessions, nil
}

// DeleteUserSessions ends all sessions of a user, except those whose handles are given: log
// out everywhere, or everywhere else. It also ends plain and expired sessions. It returns
// how many of them were live. Anonymous sessions belong to no user, whatever user_id they
// claim. A request ends the sessions of its own user by its token: [Cache.RevokeOthers],
// [Cache.RevokeAll].
//
// It ends a session that is being renewed at the same moment. It may miss a login that
// has checked the old password and stores its session after the deletion. To prevent
// this, run two transactions with [Cache.Tx]: the login reads the user's own row FOR
// SHARE, checks the password and issues the session; the password change updates that
// row and calls DeleteUserSessions. (sessionhttp's Manager.Tx does this for requests.)
//
// It waits for the user's logins with [MaxSessions] and for other calls of its kind. In a
// caller's transaction, call it before calls that change sessions, or two transactions can
// deadlock. Above isolation level read committed the error is [ErrIsolation].
func (s *store) DeleteUserSessions(ctx context.Context, userID string, except ...sid.Handle) (n int64, err error) {
	const op = "delete the user's sessions"
	if err := checkUserID(op, userID); err != nil {
		return 0, err
	}
	if err := s.checkIsolation(ctx, op); err != nil {
		return 0, err
	}
	ids := make(sid.IDs, len(except))
	for i, handle := range except {
		ids[i] = sid.ID(handle)
	}
	var ended []sid.ID
	err = s.inTx(ctx, func(in *store) error {
		err := in.queries.LockUser(ctx, db.LockUserParams{Audience: s.config.audience, UserID: userID})
		if err == nil {
			n, ended, err = in.deleteUserSessions(ctx, userID, ids)
		}
		return err
	})
	if err != nil {
		return 0, s.await(ctx, interpret(op, err)) // any of them may have ended
	}
	s.logCount(ctx, "sessions of a user deleted", n)
	return n, s.await(ctx, nil, ended...)
}
