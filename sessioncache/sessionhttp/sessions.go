package sessionhttp

import (
	"context"
	"errors"
	"time"

	"github.com/rhaptos/sessiondb/sessioncache"
)

// Session is one of a user's sessions, to be shown on a page.
type Session[T any] struct {
	// Handle names the session to [Manager.LogoutSession]. It gives no access and may be
	// shown.
	Handle string

	User   T      // as stored in this session
	Device string // as [WithDevice] named it at login; may be empty

	CreatedAt, AuthenticatedAt time.Time // by the database's clock, as all times here

	// LastUsedAt is the last use that extended the session: at most a quarter of the idle
	// timeout before the last use. Without an idle timeout it is CreatedAt.
	LastUsedAt time.Time

	ExpiresAt time.Time // with an idle timeout, use extends it up to Deadline
	Deadline  time.Time // the latest end; a new login or a re-authentication sets another

	TTL time.Duration // until ExpiresAt, at the time of the lookup

	Current    bool // the session is the request's own
	Unreadable bool // the stored user does not fit the type, and User is zero
}

func sessionOf[T any](s sessioncache.Session[T], current bool) Session[T] {
	return Session[T]{
		Handle: s.Handle.String(), User: s.User, Device: s.Device,
		CreatedAt: s.CreatedAt, AuthenticatedAt: s.AuthenticatedAt, LastUsedAt: s.LastUsedAt,
		ExpiresAt: s.ExpiresAt, Deadline: s.Deadline, TTL: s.TTL,
		Current: current, Unreadable: s.State == sessioncache.StateUnreadable,
	}
}

// User returns the user of the request's session. ok is false, and err nil, if no user
// has logged in; [Manager.Current] returns the reason. After an error nothing is known.
//
// All calls within a second share one lookup. A later call in a long request looks the
// session up again: it sees what has changed, and restarts the idle timeout.
func (m *Manager[T]) User(ctx context.Context) (user T, ok bool, err error) {
	session, err := m.findLocked(ctx, "user", m.findUser)
	return session.User, err == nil, ignoreNoSession(err)
}

// Visitor returns the data of the request's session, a user's or a visitor's
// ([Manager.Begin]). ok is false, and err nil, if there is no session.
func (m *Manager[T]) Visitor(ctx context.Context) (visitor T, ok bool, err error) {
	session, err := m.findLocked(ctx, "visitor", m.find)
	return session.User, err == nil, ignoreNoSession(err)
}

// MustUser returns the user of the request's session, as an earlier call of the request
// has found it. It looks the session up only if there was no earlier call. It is for
// handlers behind [Manager.Require], and panics if there is no user.
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

// Current returns the request's session, if a user has logged in. Otherwise the error
// matches [ErrNoSession] and says why.
func (m *Manager[T]) Current(ctx context.Context) (Session[T], error) {
	session, err := m.findLocked(ctx, "current session", m.findUser)
	if err != nil {
		return Session[T]{}, err
	}
	return sessionOf(session, true), nil
}

// Sessions lists the live sessions of the request's user, newest first, at most a thousand.
// [WithDevice] names them, and with sessioncache.WithIdleTimeout they have a time of their
// last use.
func (m *Manager[T]) Sessions(ctx context.Context) ([]Session[T], error) {
	const op = "sessions"
	owner, err := m.findLocked(ctx, op, m.findOwner)
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

// findLocked locks the request's session and calls find.
func (m *Manager[T]) findLocked(ctx context.Context, op string,
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

// ignoreNoSession returns nil for ErrNoSession, and other errors unchanged.
func ignoreNoSession(err error) error {
	if errors.Is(err, ErrNoSession) {
		return nil
	}
	return err
}
