package sessionhttp

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/rhaptos/sessiondb/sessioncache"
)

// Session is one of a user's sessions, as a page shows it.
type Session[T any] struct {
	// Handle names the session to [Manager.Revoke]. It lets nobody in, and may be
	// shown.
	Handle string

	User T // as this session has it: what tells one device from another is here

	Start, End time.Time     // by the database's clock; both instants are part of it
	Left       time.Duration // until End, when it was asked for

	Current bool // it is the request's own
}

// User returns the user of the request's session. It looks the session up once in
// a request. When there is none the error is [ErrNoSession] and says why; when the
// database does not answer it is [sessioncache.ErrUnavailable], and nothing is
// known.
func (m *Manager[T]) User(ctx context.Context) (user T, err error) {
	const op = "user"
	v, err := m.enter(ctx)
	if err != nil {
		return user, failed(op, err)
	}
	defer v.leave()
	if user, err = m.find(ctx, v); err != nil {
		return user, failed(op, err)
	}
	return user, nil
}

// Current returns the request's session as it is now. Unlike [Manager.User] it
// asks the database each time: a long-lived request, a WebSocket say, learns from
// it that the user has been logged out meanwhile.
func (m *Manager[T]) Current(ctx context.Context) (session Session[T], err error) {
	const op = "current session"
	v, err := m.enter(ctx)
	if err != nil {
		return session, failed(op, err)
	}
	defer v.leave()
	user, err := m.find(ctx, v)
	if err != nil {
		return session, failed(op, err)
	}
	now, err := m.look(ctx, v)
	if err != nil {
		return session, failed(op, err)
	}
	return Session[T]{now.ID.String(), user, now.Start, now.End, now.Left, true}, nil
}

// Sessions lists the live sessions of the request's user, newest first.
func (m *Manager[T]) Sessions(ctx context.Context) ([]Session[T], error) {
	const op = "sessions"
	v, owner, err := m.enterAsOwner(ctx)
	if err != nil {
		return nil, failed(op, err)
	}
	defer v.leave()
	list, err := m.cache.UserSessions(ctx, owner.UserID)
	if err != nil {
		return nil, failed(op, err)
	}
	handles := make([]string, len(list))
	for i, session := range list {
		handles[i] = session.ID.String()
	}
	users, err := m.cache.GetAll(ctx, handles...)
	if err != nil {
		return nil, failed(op, err)
	}
	sessions := make([]Session[T], 0, len(list))
	for i, s := range list {
		if user, ok := users[handles[i]]; ok { // or it has ended since
			sessions = append(sessions, Session[T]{handles[i], user, s.Start, s.End, s.Left, s.ID == owner.ID})
		}
	}
	return sessions, nil
}

// Revoke ends one of the sessions of the request's user; if it is the request's
// own it clears the cookies, too. Any other handle is refused with
// [ErrUnknownHandle].
func (m *Manager[T]) Revoke(w http.ResponseWriter, r *http.Request, handle string) error {
	const op = "revoke"
	ctx := r.Context()
	v, owner, err := m.enterAsOwner(ctx)
	if err != nil {
		return failed(op, err)
	}
	defer v.leave()
	// An id belongs to one user for good, so nothing changes between the two
	// statements that would make this the wrong session.
	session, ok, err := m.cache.Session(ctx, handle)
	switch {
	case errors.Is(err, sessioncache.ErrMalformedID):
		return failed(op, ErrUnknownHandle)
	case err != nil:
		return failed(op, err)
	case !ok || session.UserID != owner.UserID:
		return failed(op, ErrUnknownHandle)
	}
	if err := m.cache.Delete(ctx, handle); err != nil {
		return failed(op, err)
	}
	m.log(ctx, "session ended", session.ID)
	if session.ID == owner.ID {
		m.forget(w, v)
	}
	return nil
}
