package sessionhttp

import (
	"net/http"
	"time"

	"github.com/rhaptos/sessiondb/sessioncache"
	"github.com/rhaptos/sessiondb/sessioncache/sid"
)

// Renew gives the session of the request a new token, and sets it. Call it whenever
// the user's privileges change (OWASP's Session Management Cheat Sheet, "Renew the
// Session ID After Any Privilege Level Change"). The session, its user and its times
// stay.
//
// Of several requests that renew one token at once one succeeds; the others get
// sessioncache.ErrSuperseded and set no cookie. When the database does not answer, the
// token may have been renewed or not. If it has, the user has to log in again.
func (m *Manager[T]) Renew(w http.ResponseWriter, r *http.Request) error {
	return m.run(w, r, "renew", func(t *Tx[T]) error { return t.Renew() })
}

// Renew is [Manager.Renew], in the transaction.
func (t *Tx[T]) Renew() error {
	return t.wrap("renew", t.renew(EventRenew))
}

// Reauthenticated notes that the user of the request's session has just proved again
// who they are, by a password, say. It renews the token as [Manager.Renew] does, and
// restarts the session's lifetime and idle timeout.
func (m *Manager[T]) Reauthenticated(w http.ResponseWriter, r *http.Request) error {
	return m.run(w, r, "re-authenticate", func(t *Tx[T]) error { return t.Reauthenticated() })
}

// Reauthenticated is [Manager.Reauthenticated], in the transaction.
func (t *Tx[T]) Reauthenticated() error {
	return t.wrap("re-authenticate", t.renew(EventReauthenticate, sessioncache.Reauthenticated()))
}

func (t *Tx[T]) renew(kind EventKind, options ...sessioncache.RenewOption) error {
	if err := t.needCookies(); err != nil {
		return err
	}
	session, err := t.manager.findUser(t.ctx, t.cache, t.session)
	if err != nil {
		return err
	}
	token, ok, err := t.cache.Renew(t.ctx, t.session.token, options...)
	if err = t.happened(err); err != nil {
		t.reportSuperseded(err)
		return err
	}
	if !ok { // it has ended since
		return ErrUnknownSession
	}
	set := t.cookiesOf(token, session)
	if kind == EventReauthenticate {
		set.left = session.Deadline.Sub(session.AuthenticatedAt) // which starts anew
	}
	t.session.set(token)
	t.ends = true
	t.then(func(w http.ResponseWriter) { t.manager.setCookies(t.ctx, w, t.session, set) })
	t.thenReport(Event{Kind: kind, Handle: session.Handle, UserID: session.UserID})
	return nil
}

// cookiesOf are the cookies of a session that the database has just shown.
func (t *Tx[T]) cookiesOf(token sid.Token, session sessioncache.Session[T]) cookies[T] {
	set := cookies[T]{token: token, left: left(session), persistent: t.isRemembered(session)}
	if !session.Anonymous() {
		set.user = &session.User
	}
	return set
}

// isRemembered tells whether a login was given a longer lifetime than others have.
func (t *Tx[T]) isRemembered(session sessioncache.Session[T]) bool {
	return !session.Anonymous() && session.Deadline.Sub(session.AuthenticatedAt) > t.cache.Lifetime()
}

// left is how long a session may still live, by the database's clock, however much it
// is used: what its cookie is good for.
func left[T any](session sessioncache.Session[T]) time.Duration {
	return max(0, session.Deadline.Sub(session.ExpiresAt)+session.TTL)
}
