package sessioncache

import (
	"context"
	"time"

	"github.com/rhaptos/sessiondb/db"
	"github.com/rhaptos/sessiondb/sessioncache/sid"
)

// Session is what is stored of a session beside its user, all by the database's
// clock.
type Session struct {
	ID         sid.ID
	UserID     string        // the user_id of its user; empty when there is none
	Start, End time.Time     // both instants are part of it
	Left       time.Duration // until End, when it was asked for; negative when it has passed
	Live       bool          // that Get would have found it
}

// Session returns what is stored of a session beside its user. Unlike Get it
// finds an expired one, too, until Purge has removed it: Live tells. It puts off
// no end. ok is false, and err nil, when the session is absent.
func (c *Cache[T]) Session(ctx context.Context, id string) (session Session, ok bool, err error) {
	const op = "look up the session"
	sessionID, err := parseID(op, id)
	if err != nil {
		return Session{}, false, err
	}
	row, err := retryRead(ctx, c, func(ctx context.Context) (db.GetSessionTimesRow, error) {
		return c.queries.GetSessionTimes(ctx, sessionID)
	})
	if ok, err = found(err); !ok {
		return Session{}, false, interpret(op, err)
	}
	session = Session{ID: sessionID, Start: row.StartUTC, End: row.EndUTC, Left: row.TimeLeft, Live: row.Live}
	if row.UserID != nil {
		session.UserID = *row.UserID
	}
	return session, true, nil
}

// UserSessions lists the live sessions of a user, newest first: those whose
// stored JSON has this user_id at its top level. A user without any has an empty
// list.
func (c *Cache[T]) UserSessions(ctx context.Context, userID string) ([]Session, error) {
	const op = "list the user's sessions"
	if err := checkUserID(op, userID); err != nil {
		return nil, err
	}
	rows, err := retryRead(ctx, c, func(ctx context.Context) ([]db.ListUserSessionsRow, error) {
		return c.queries.ListUserSessions(ctx, userID)
	})
	if err != nil {
		return nil, interpret(op, err)
	}
	sessions := make([]Session, len(rows))
	for i, row := range rows {
		sessions[i] = Session{
			ID: row.SessionID, UserID: userID, Start: row.StartUTC, End: row.EndUTC, Left: row.TimeLeft, Live: true,
		}
	}
	return sessions, nil
}
