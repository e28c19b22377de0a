package sessionhttp

import (
	"errors"
	"net/http"

	"github.com/rhaptos/sessiondb/sessioncache"
	"github.com/rhaptos/sessiondb/sessioncache/sid"
)

// Logout ends the session of the request and clears its cookies. Without a session
// it clears them all the same. Of several session cookies it ends the sessions of
// all, of four at most: of more it returns [ErrMalformedCookie]. With an error, but for
// sessioncache.ErrNotAwaited ([Manager]), the session may live on, and the cookies stay:
// the user is not logged out.
func (m *Manager[T]) Logout(w http.ResponseWriter, r *http.Request) error {
	return m.run(w, r, "log out", func(t *Tx[T]) error { return t.logout() })
}

func (t *Tx[T]) logout() error {
	if t.session.credentials.many {
		return ErrMalformedCookie
	}
	var err error
	if len(t.session.credentials.tokens) > 1 {
		err = t.atomically(t.revoke) // to wait for near caches once
	} else {
		err = t.happened(t.revoke(t.cache))
	}
	if err != nil {
		return err
	}
	t.forget()
	return nil
}

// revoke ends the sessions of all tokens that the request carries.
func (t *Tx[T]) revoke(cache *sessioncache.Cache[T]) error {
	for _, token := range t.session.credentials.tokens {
		// The audit log is to say whose session it was, and not to believe a stranger who
		// names its handle.
		session, _, err := cache.Authenticate(t.ctx, token)
		if errors.Is(err, sessioncache.ErrUnavailable) {
			return err
		}
		if session.Handle == token.Handle() { // now: a Revoke that has happened may return an error
			t.thenReport(Event{Kind: EventLogout, Handle: session.Handle, UserID: session.UserID})
		}
		if err := cache.Revoke(t.ctx, token); err != nil {
			return err
		}
	}
	return nil
}

// forget has the browser forget a session that has ended. A response that has begun
// cannot: then the browser keeps a token that opens nothing.
func (t *Tx[T]) forget() {
	t.ends = true
	bearer := t.session.credentials.bearer
	t.session.clear(ErrNoCookie)
	t.then(func(w http.ResponseWriter) {
		if !bearer && !t.session.response.begun.Load() {
			t.manager.clearCookies(w, t.session)
		}
	})
}

// LogoutEverywhere ends all sessions of the request's user, on all devices, and
// clears the cookies. It returns how many there were.
func (m *Manager[T]) LogoutEverywhere(w http.ResponseWriter, r *http.Request) (n int64, err error) {
	err = m.run(w, r, "log out everywhere", func(t *Tx[T]) error { n, err = t.LogoutEverywhere(); return err })
	return n, err
}

// LogoutEverywhere is [Manager.LogoutEverywhere], in the transaction.
func (t *Tx[T]) LogoutEverywhere() (n int64, err error) {
	const op = "log out everywhere"
	session, err := t.manager.findOwner(t.ctx, t.cache, t.session)
	if err != nil {
		return 0, t.wrap(op, err)
	}
	n, err = t.cache.DeleteUserSessions(t.ctx, session.UserID)
	if err = t.happened(err); err != nil {
		return 0, t.wrap(op, err)
	}
	t.forget()
	t.thenReport(Event{Kind: EventLogoutEverywhere, Handle: session.Handle, UserID: session.UserID, Sessions: n})
	return n, nil
}

// LogoutOthers ends all sessions of the request's user but the request's own, and
// returns how many there were.
func (m *Manager[T]) LogoutOthers(r *http.Request) (n int64, err error) {
	err = m.run(nil, r, "log out elsewhere", func(t *Tx[T]) error { n, err = t.LogoutOthers(); return err })
	return n, err
}

// LogoutOthers is [Manager.LogoutOthers], in the transaction.
func (t *Tx[T]) LogoutOthers() (n int64, err error) {
	const op = "log out elsewhere"
	session, err := t.manager.findOwner(t.ctx, t.cache, t.session)
	if err != nil {
		return 0, t.wrap(op, err)
	}
	n, err = t.cache.DeleteUserSessions(t.ctx, session.UserID, session.Handle)
	if err = t.happened(err); err != nil {
		return 0, t.wrap(op, err)
	}
	t.ends = true
	t.thenReport(Event{Kind: EventLogoutOthers, Handle: session.Handle, UserID: session.UserID, Sessions: n})
	return n, nil
}

// LogoutSession ends one of the sessions of the request's user; if it is the request's
// own it clears the cookies, too. Any other handle is refused with
// [ErrUnknownHandle].
func (m *Manager[T]) LogoutSession(w http.ResponseWriter, r *http.Request, handle string) error {
	return m.run(w, r, "log out a session", func(t *Tx[T]) error { return t.logoutSession(handle) })
}

func (t *Tx[T]) logoutSession(text string) error {
	owner, err := t.manager.findOwner(t.ctx, t.cache, t.session)
	if err != nil {
		return err
	}
	handle, err := sid.ParseHandle(text)
	if err != nil {
		return ErrUnknownHandle
	}
	// A session never changes its user, so nothing changes between the two statements
	// that would make this the wrong session.
	session, ok, err := t.cache.Session(t.ctx, handle)
	if errors.Is(err, sessioncache.ErrUnreadableSession) {
		ok, err = true, nil // it can be ended all the same
	}
	switch {
	case err != nil:
		return err
	case !ok, session.UserID != owner.UserID, session.Anonymous():
		return ErrUnknownHandle
	}
	_, err = t.cache.DeleteSession(t.ctx, handle)
	if err := t.happened(err); err != nil {
		return err
	}
	t.ends = true
	if handle == owner.Handle {
		t.forget()
	}
	t.thenReport(Event{Kind: EventLogoutSession, Handle: handle, UserID: owner.UserID})
	return nil
}
