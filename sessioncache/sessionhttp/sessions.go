package sessionhttp

import (
	"context"
	"errors"
	"time"

	"github.com/rhaptos/sessiondb/sessioncache"
)

// Session is one of a user's sessions, as a page shows it.
type Session[T any] struct {
	// Handle names the session to [Manager.LogoutSession]. It lets nobody in, and may be
	// shown.
	Handle string

	User T // as this session has it: what tells one device from another is here

	CreatedAt, AuthenticatedAt, ExpiresAt time.Time // by the database's clock

	TTL time.Duration // until ExpiresAt, when it was asked for

	Current    bool // it is the request's own
	Unreadable bool // its stored user does not fit the type: User is zero
}

func sessionOf[T any](s sessioncache.Session[T], current bool) Session[T] {
	return Session[T]{
		Handle: s.Handle.String(), User: s.User,
		CreatedAt: s.CreatedAt, AuthenticatedAt: s.AuthenticatedAt, ExpiresAt: s.ExpiresAt, TTL: s.TTL,
		Current: current, Unreadable: s.State == sessioncache.StateUnreadable,
	}
}

// User returns the user of the request's session. ok is false, and err nil, when
// nobody has logged in; [Manager.Current] tells why. With an error nothing is known.
//
// All who ask within a second share one lookup. A long request that asks again later
// sees what has changed, and its session is used: an idle timeout starts anew.
func (m *Manager[T]) User(ctx context.Context) (user T, ok bool, err error) {
	session, err := m.ask(ctx, "user", m.findUser)
	return session.User, err == nil, unlessNoSession(err)
}

// Visitor returns the data of the request's session, a user's or a visitor's
// ([Manager.Begin]). ok is false, and err nil, when there is none.
func (m *Manager[T]) Visitor(ctx context.Context) (visitor T, ok bool, err error) {
	session, err := m.ask(ctx, "visitor", m.find)
	return session.User, err == nil, unlessNoSession(err)
}

// MustUser returns the user of the request's session, as the request has found it: it
// asks the database only if nobody has. It is for handlers behind [Manager.Require],
// and panics where there is no user.
func (m *Manager[T]) MustUser(ctx context.Context) T {
	s, err := m.lock(ctx)
	if err != nil {
		panic(failed("must user", err))
	}
	defer s.unlock()
	session, err := loggedIn(s.session, s.err)
	if !s.known {
		session, err = m.findUser(ctx, m.cache, s)
	}
	if err != nil {
		panic(failed("must user", err))
	}
	return session.User
}

// Current returns the request's session of a user who has logged in. When there is
// none the error is [ErrNoSession] and says why.
func (m *Manager[T]) Current(ctx context.Context) (Session[T], error) {
	session, err := m.ask(ctx, "current session", m.findUser)
	if err != nil {
		return Session[T]{}, err
	}
	return sessionOf(session, true), nil
}

// Sessions lists the live sessions of the request's user, newest first.
func (m *Manager[T]) Sessions(ctx context.Context) ([]Session[T], error) {
	const op = "sessions"
	owner, err := m.ask(ctx, op, m.findOwner)
	if err != nil {
		return nil, err
	}
	if m.of(ctx).fake {
		return []Session[T]{sessionOf(owner, true)}, nil
	}
	list, err := m.cache.UserSessions(ctx, owner.UserID)
	if err != nil {
		return nil, failed(op, err)
	}
	sessions := make([]Session[T], len(list))
	for i, session := range list {
		sessions[i] = sessionOf(session, session.Handle == owner.Handle)
	}
	return sessions, nil
}

// ask has the session of a request found in one of the ways to find it.
func (m *Manager[T]) ask(ctx context.Context, op string,
	find func(context.Context, *sessioncache.Cache[T], *requestSession[T]) (sessioncache.Session[T], error),
) (sessioncache.Session[T], error) {
	s, err := m.lock(ctx)
	if err != nil {
		return sessioncache.Session[T]{}, failed(op, err)
	}
	defer s.unlock()
	session, err := find(ctx, m.cache, s)
	if err != nil {
		return sessioncache.Session[T]{}, failed(op, err)
	}
	return session, nil
}

// unlessNoSession takes "nobody" for an answer.
func unlessNoSession(err error) error {
	if errors.Is(err, ErrNoSession) {
		return nil
	}
	return err
}
