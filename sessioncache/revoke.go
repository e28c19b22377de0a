package sessioncache

import (
	"context"
	"errors"
	"log/slog"

	"github.com/rhaptos/sessiondb/db"
	"github.com/rhaptos/sessiondb/sid"
)

// Revoke ends the sessions that tokens open. Once it has returned nil, the tokens open
// no session on any server. A token that opens no session is not an error. After an error
// some of several sessions may have ended.
//
// A superseded token, however old, ends the session, too. The exception is a token that
// was kept beyond a re-authentication (see [Cache.Authenticate]): then the holder of the
// new token is the user, and Revoke ends nothing.
func (s *store) Revoke(ctx context.Context, tokens ...sid.Token) error {
	const op = "revoke"
	keys, err := s.keysOf(op, tokens)
	for _, k := range keys {
		if err = s.revoke(ctx, k); err != nil {
			err = interpret(op, err)
			break
		}
		logSession(ctx, s.config, slog.LevelDebug, "session revoked", k)
	}
	s.shared.metrics.call(&s.shared.metrics.deletes, true, err)
	return s.await(ctx, err, idsOf(keys)...)
}

func (s *store) revoke(ctx context.Context, k key) error {
	_, err := retryWrite(ctx, s, func(ctx context.Context, queries *db.Queries) (int64, error) {
		return queries.RevokeSession(ctx, db.RevokeSessionParams{
			Handle:   k.id,
			Audience: s.config.audience,
			Secret:   k.digest,
			Family:   k.family(),
			Renewals: int32(k.token.Number()),
			Grace:    supersededGrace,
		})
	})
	return err
}

// RevokeOthers ends all other sessions of the user whose session the token opens: log out
// everywhere else. It returns how many live logins it has ended. ok is false, and nothing
// has ended, when the token opens no session, also if it has ended just before. A
// superseded token is treated as in [Cache.Authenticate]. For the session of a visitor, or
// of a user without a user_id, the error is [ErrInvalidUser].
//
// It waits for the user's logins with [MaxSessions] and for other calls of its kind. In a
// caller's transaction, call it before calls that change sessions, or two transactions can
// deadlock. Above isolation level read committed the error is [ErrIsolation].
func (s *store) RevokeOthers(ctx context.Context, token sid.Token) (n int64, ok bool, err error) {
	return s.revokeUser(ctx, "log out the others", token, sid.ID(token.Handle()))
}

// RevokeAll is [Cache.RevokeOthers] for all sessions of the user, the token's own included.
func (s *store) RevokeAll(ctx context.Context, token sid.Token) (n int64, ok bool, err error) {
	return s.revokeUser(ctx, "log out everywhere", token)
}

func (s *store) revokeUser(ctx context.Context, op string, token sid.Token, except ...sid.ID) (n int64, ok bool, err error) {
	ended := []sid.ID{} // not nil, which means any
	ok, err = s.asOwner(ctx, op, token, func(in *store, userID string) error {
		n, ended, err = in.deleteUserSessions(ctx, userID, except)
		return err
	})
	if !ok {
		n, ended = 0, []sid.ID{} // of an attempt that was rolled back
	}
	switch {
	case errors.Is(err, ErrUnavailable):
		return 0, false, s.await(ctx, err) // any of them may have ended
	case ok:
		s.logCount(ctx, "sessions of a user deleted", n)
	}
	return n, ok, s.await(ctx, err, ended...)
}

// RevokeSession ends the session that the handle names, if it is a live one of the user
// whose session the token opens: one of the user's other devices. was is false if it is
// not. ok and the errors are those of [Cache.RevokeOthers].
func (s *store) RevokeSession(ctx context.Context, token sid.Token, handle sid.Handle) (was, ok bool, err error) {
	const op = "log out a session"
	var rows int64
	ok, err = s.asOwner(ctx, op, token, func(in *store, userID string) error {
		rows, err = in.queries.DeleteUserSession(ctx, db.DeleteUserSessionParams{
			Handle: sid.ID(handle), Audience: s.config.audience, UserID: userID,
		})
		return err
	})
	was = ok && err == nil && rows > 0
	if was {
		logSession(ctx, s.config, slog.LevelDebug, "session deleted", handle)
	}
	return was, ok, s.await(ctx, err, sid.ID(handle))
}

// asOwner runs statements in a transaction for the user whose session a token opens, after
// the user and then the session were locked. Each statement sees what was committed before
// it began: neither a login that the lock has waited for is missed, nor is the session
// still taken for live that has ended meanwhile.
func (s *store) asOwner(ctx context.Context, op string, token sid.Token, statements func(in *store, userID string) error) (ok bool, err error) {
	k, err := s.keyOf(op, token)
	if err != nil {
		return false, err
	}
	if err := s.checkIsolation(ctx, op); err != nil {
		return false, err
	}
	r, err := s.lookUp(ctx, k.id)
	if err != nil {
		return false, interpret(op, err)
	}
	switch verdict := judge(r, k); verdict {
	case isLive:
	case isInFlight, isStolen:
		return false, s.superseded(ctx, op, k, verdict)
	default:
		return false, nil
	}
	if err := checkUserID(op, r.UserID); err != nil {
		return false, err
	}
	err = s.inTx(ctx, func(in *store) error {
		if err := in.queries.LockUser(ctx, db.LockUserParams{Audience: s.config.audience, UserID: r.UserID}); err != nil {
			return err
		}
		_, err := in.queries.LockSession(ctx, db.LockSessionParams{Handle: k.id, Audience: s.config.audience, Secret: k.digest})
		switch ok, err := found(err); {
		case err != nil:
			return err
		case !ok:
			return errChanged
		}
		return statements(in, r.UserID)
	})
	if errors.Is(err, errChanged) { // the token was live when the call began
		return false, s.configured(inFlight).whyNot(ctx, op, k)
	}
	return err == nil, interpret(op, err)
}

// deleteUserSessions ends the sessions of a user. n is how many of them were live.
func (s *store) deleteUserSessions(ctx context.Context, userID string, except sid.IDs) (n int64, ended []sid.ID, err error) {
	rows, err := s.queries.DeleteUserSessions(ctx, db.DeleteUserSessionsParams{
		Audience: s.config.audience, UserID: userID, ExceptHandles: append(sid.IDs{}, except...),
	})
	ended = make([]sid.ID, 0, len(rows))
	for _, row := range rows {
		ended = append(ended, row.SessionID)
		if row.Live {
			n++
		}
	}
	return n, ended, err
}
