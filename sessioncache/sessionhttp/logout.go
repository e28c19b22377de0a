package sessionhttp

import (
	"context"
	"errors"
	"net/http"

	"github.com/rhaptos/sessiondb/sessioncache"
	"github.com/rhaptos/sessiondb/sid"
)

// Logout ends the session of the request and clears its cookies. Without a session it
// only clears the cookies. If there are several session cookies, it ends the sessions
// of all of them; if there are more than four, the error is [ErrMalformedCookie]. After
// an error other than sessioncache.ErrNotAwaited (see [Manager]) the session may still
// be live, and the cookies stay: treat the user as still logged in, and let them try
// again.
func (m *Manager[T]) Logout(w http.ResponseWriter, r *http.Request) error {
	return m.run(w, r, "log out", func(t *sessionChange[T]) error { return t.logout() })
}

func (t *sessionChange[T]) logout() error {
	if t.session.credentials.tooMany {
		return ErrMalformedCookie
	}
	tokens := t.session.credentials.tokens
	for _, token := range tokens {
		// For the audit log: Authenticate returns the user's id, and only for a real
		// token. A handle alone proves nothing.
		session, _, err := t.cache.Authenticate(t.ctx, token)
		if errors.Is(err, sessioncache.ErrUnavailable) {
			return err
		}
		if session.Handle == token.Handle() { // before Revoke, which may return ErrNotAwaited
			t.reportOnSuccess(Event{Kind: EventLogout, Handle: session.Handle, UserID: session.UserID})
		}
	}
	if err := t.deferNotAwaited(t.cache.Revoke(t.ctx, tokens...)); err != nil {
		return err
	}
	t.wakeSessions(tokens)
	t.clearSession()
	return nil
}

// clearSession removes a session that has ended from the request, and its cookies from
// the browser. If the headers have been sent, the browser keeps a token that gives no
// access.
func (t *sessionChange[T]) clearSession() {
	bearer := t.session.credentials.bearer
	t.session.clear(ErrNoCookie)
	t.onSuccess(func(w http.ResponseWriter) {
		if !bearer && !t.session.response.headersSent.Load() {
			t.manager.clearCookies(w, t.session)
		}
	})
}

// LogoutEverywhere ends all sessions of the request's user, on all devices, and clears
// the cookies. It returns how many live logins it has ended.
func (m *Manager[T]) LogoutEverywhere(w http.ResponseWriter, r *http.Request) (n int64, err error) {
	err = m.run(w, r, "log out everywhere", func(t *sessionChange[T]) error { n, err = t.logoutEverywhere(); return err })
	return n, err
}

// LogoutOthers ends all sessions of the request's user except the request's own. It
// returns how many live logins it has ended.
func (m *Manager[T]) LogoutOthers(r *http.Request) (n int64, err error) {
	err = m.run(nil, r, "log out elsewhere", func(t *sessionChange[T]) error { n, err = t.logoutOthers(); return err })
	return n, err
}

func (t *sessionChange[T]) logoutEverywhere() (n int64, err error) {
	n, err = t.logoutUser(EventLogoutEverywhere, t.cache.RevokeAll)
	if err == nil {
		t.clearSession()
	}
	return n, err
}

func (t *sessionChange[T]) logoutOthers() (n int64, err error) {
	return t.logoutUser(EventLogoutOthers, t.cache.RevokeOthers)
}

// logoutUser ends sessions of the request's user.
func (t *sessionChange[T]) logoutUser(kind Kind, revoke func(context.Context, sid.Token) (int64, bool, error)) (n int64, err error) {
	session, err := t.find(t.manager.findOwner)
	if err != nil {
		return 0, err
	}
	n, ok, err := revoke(t.ctx, t.session.token)
	switch err = t.deferNotAwaited(err); {
	case err != nil:
		t.reportSuperseded(err)
		return 0, err
	case !ok: // it has ended meanwhile
		return 0, ErrUnknownSession
	}
	t.wakeUser(session.UserID)
	t.reportOnSuccess(Event{Kind: kind, Handle: session.Handle, UserID: session.UserID, Sessions: n})
	return n, nil
}

// LogoutSession ends one of the sessions of the request's user. If it is the request's
// own, the cookies are cleared, too. If the handle is not one of this user's sessions, for
// example because that session has already ended, the error is [ErrUnknownHandle]. A page
// of devices can ignore it (errors.Is), or a second click shows "Not Found". Without a user
// who has logged in the error is [ErrNoSession].
func (m *Manager[T]) LogoutSession(w http.ResponseWriter, r *http.Request, handle string) error {
	return m.run(w, r, "log out a session", func(t *sessionChange[T]) error { return t.logoutSession(handle) })
}

func (t *sessionChange[T]) logoutSession(text string) error {
	owner, err := t.find(t.manager.findOwner)
	if err != nil {
		return err
	}
	handle, err := sid.ParseHandle(text)
	if err != nil {
		return ErrUnknownHandle
	}
	was, ok, err := t.cache.RevokeSession(t.ctx, t.session.token, handle)
	switch err = t.deferNotAwaited(err); {
	case err != nil:
		t.reportSuperseded(err)
		return err
	case !ok: // the request's own session has ended meanwhile
		return ErrUnknownSession
	case !was:
		return ErrUnknownHandle
	}
	t.onSuccess(func(http.ResponseWriter) { t.manager.watcher.wakeSessions(handle) })
	if handle == owner.Handle {
		t.clearSession()
	}
	t.reportOnSuccess(Event{Kind: EventLogoutSession, Handle: handle, UserID: owner.UserID})
	return nil
}
