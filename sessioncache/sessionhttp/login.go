package sessionhttp

import (
	"context"
	"log/slog"
	"net/http"
	"time"

	"github.com/rhaptos/sessiondb/sessioncache"
)

// Login begins a session for a user, whom the caller has authenticated, and sets
// its cookies. The token is always a fresh one: whatever session the request
// carried is ended, so nobody who has planted a token or kept an old one is in.
//
// With an error the user is not logged in, and the former session may have ended.
func (m *Manager[T]) Login(w http.ResponseWriter, r *http.Request, user T) error {
	const op = "log in"
	ctx := r.Context()
	v, err := m.enter(ctx)
	if err != nil {
		return failed(op, err)
	}
	defer v.leave()
	if err := m.end(ctx, v); err != nil {
		return failed(op, err)
	}
	token := newToken()
	if err := m.cache.Set(ctx, token.id().String(), user); err != nil {
		return failed(op, err)
	}
	v.has(token.id(), user)
	v.response.set.Store(true)
	m.setCookies(ctx, w, token, user, m.cache.Duration())
	m.log(ctx, "session created", v.id)
	return nil
}

// Logout ends the session of the request and clears its cookies. Without a session
// it clears them all the same. With an error the session may live on, and the
// cookies stay: the user is not logged out.
func (m *Manager[T]) Logout(w http.ResponseWriter, r *http.Request) error {
	const op = "log out"
	v, err := m.enter(r.Context())
	if err != nil {
		return failed(op, err)
	}
	defer v.leave()
	if err := m.end(r.Context(), v); err != nil {
		return failed(op, err)
	}
	m.forget(w, v)
	return nil
}

// LogoutEverywhere ends all sessions of the request's user, on all devices, and
// clears the cookies. It returns how many there were.
func (m *Manager[T]) LogoutEverywhere(w http.ResponseWriter, r *http.Request) (n int64, err error) {
	const op = "log out everywhere"
	ctx := r.Context()
	v, session, err := m.enterAsOwner(ctx)
	if err != nil {
		return 0, failed(op, err)
	}
	defer v.leave()
	n, err = m.cache.DeleteUser(ctx, session.UserID)
	if err != nil {
		return n, failed(op, err)
	}
	m.forget(w, v)
	m.log(ctx, "session ended everywhere", session.ID, slog.Int64("sessions", n))
	return n, nil
}

// LogoutOthers ends all sessions of the request's user but the request's own, and
// returns how many there were.
func (m *Manager[T]) LogoutOthers(r *http.Request) (n int64, err error) {
	const op = "log out elsewhere"
	ctx := r.Context()
	v, session, err := m.enterAsOwner(ctx)
	if err != nil {
		return 0, failed(op, err)
	}
	defer v.leave()
	n, err = m.cache.DeleteUser(ctx, session.UserID, session.ID.String())
	if err != nil {
		return n, failed(op, err)
	}
	m.log(ctx, "session ended elsewhere", session.ID, slog.Int64("sessions", n))
	return n, nil
}

// Renew gives the session of the request a new token, and ends the old one. Call
// it whenever the user's privileges change (OWASP's Session Management Cheat
// Sheet, "Renew the Session ID After Any Privilege Level Change"). The user and the
// times stay.
//
// When the database does not answer, the token may have been renewed or not. If it
// has, the user has to log in again.
func (m *Manager[T]) Renew(w http.ResponseWriter, r *http.Request) error {
	const op = "renew"
	ctx := r.Context()
	v, err := m.enter(ctx)
	if err != nil {
		return failed(op, err)
	}
	defer v.leave()
	user, err := m.find(ctx, v)
	if err != nil {
		return failed(op, err)
	}
	session, err := m.look(ctx, v)
	if err != nil {
		return failed(op, err)
	}
	token := newToken()
	moved, err := m.cache.Rotate(ctx, v.id.String(), token.id().String())
	if err != nil {
		return failed(op, err)
	}
	if !moved { // it has ended since
		v.hasNone(ErrUnknownSession)
		return failed(op, ErrUnknownSession)
	}
	v.has(token.id(), user)
	v.response.set.Store(true)
	m.setCookies(ctx, w, token, user, m.left(session))
	m.log(ctx, "session renewed", v.id, slog.Any("old", session.ID))
	return nil
}

// Update changes the user of the request's session, as [sessioncache.Cache.Update]
// does, and the profile cookie with it. An error of change is returned as it is.
// change must not call the Manager: the session of the request is held meanwhile.
func (m *Manager[T]) Update(w http.ResponseWriter, r *http.Request, change func(user *T) error) error {
	const op = "update"
	ctx := r.Context()
	v, err := m.enter(ctx)
	if err != nil {
		return failed(op, err)
	}
	defer v.leave()
	session, err := m.look(ctx, v)
	if err != nil {
		return failed(op, err)
	}
	var updated T
	var refusal error
	ok, err := m.cache.Update(ctx, v.id.String(), func(user *T) error {
		refusal = change(user)
		updated = *user
		return refusal
	})
	switch {
	case refusal != nil:
		return refusal
	case err != nil:
		return failed(op, err)
	case !ok: // it has ended since
		v.hasNone(ErrUnknownSession)
		return failed(op, ErrUnknownSession)
	}
	v.has(v.id, updated)
	if m.profile != nil {
		v.response.set.Store(true)
		m.setProfile(ctx, w, updated, m.left(session))
	}
	return nil
}

// end ends the session that a request carries, if it does.
func (m *Manager[T]) end(ctx context.Context, v *visit[T]) error {
	if v.absent == nil {
		if err := m.cache.Delete(ctx, v.id.String()); err != nil {
			return err
		}
		m.log(ctx, "session ended", v.id)
		v.hasNone(ErrNoCookie)
	}
	return nil
}

// forget has the browser forget a session that has ended.
func (m *Manager[T]) forget(w http.ResponseWriter, v *visit[T]) {
	v.hasNone(ErrNoCookie)
	v.response.set.Store(true)
	m.clearCookies(w)
}

// left is how long a session may still live, by the database's clock, however
// much it is used: what its cookie is good for.
func (m *Manager[T]) left(session sessioncache.Session) time.Duration {
	now := session.End.Add(-session.Left)
	return max(0, session.Start.Add(m.cache.Duration()).Sub(now))
}
