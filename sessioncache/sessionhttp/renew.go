package sessionhttp

import (
	"net/http"
	"time"

	"github.com/rhaptos/sessiondb/sessioncache"
	"github.com/rhaptos/sessiondb/sid"
)

// Renew gives the session of the request a new token, and sets its cookie. Call it when
// the user's privileges change (OWASP's Session Management Cheat Sheet, "Renew the
// Session ID After Any Privilege Level Change"). The session, its user and its times stay
// the same.
//
// If several requests renew one token at once, one succeeds. The others get
// sessioncache.ErrSuperseded and set no cookie. If the database does not answer, the
// token may have been renewed or not. If it has, the user has to log in again.
func (m *Manager[T]) Renew(w http.ResponseWriter, r *http.Request) error {
	return m.run(w, r, "renew", func(t *sessionChange[T]) error { return t.renew(EventRenew) })
}

// Reauthenticated records that the user of the request's session has just proved their
// identity again, for example with a password. It renews the token as [Manager.Renew]
// does, and restarts the session's lifetime and idle timeout.
func (m *Manager[T]) Reauthenticated(w http.ResponseWriter, r *http.Request) error {
	return m.run(w, r, "re-authenticate", func(t *sessionChange[T]) error { return t.reauthenticated() })
}

func (t *sessionChange[T]) reauthenticated() error {
	return t.renew(EventReauthenticate, sessioncache.Reauthenticated())
}

func (t *sessionChange[T]) renew(kind Kind, options ...sessioncache.RenewOption) error {
	if err := t.needCookies(); err != nil {
		return err
	}
	session, err := t.find(t.manager.findUser)
	if err != nil {
		return err
	}
	token, ok, err := t.cache.Renew(t.ctx, t.session.token, options...)
	if err = t.deferNotAwaited(err); err != nil {
		t.reportSuperseded(err)
		return err
	}
	if !ok { // it has ended meanwhile
		return ErrUnknownSession
	}
	set := t.cookiesOf(token, session)
	if kind == EventReauthenticate {
		set.remaining = session.Deadline.Sub(session.AuthenticatedAt) // the lifetime restarts
	}
	t.session.set(token)
	t.wakeSessions([]sid.Token{token})
	t.onSuccess(func(w http.ResponseWriter) { t.manager.setCookies(t.ctx, w, t.session, set) })
	t.reportOnSuccess(Event{Kind: kind, Handle: session.Handle, UserID: session.UserID})
	return nil
}

// cookiesOf returns the cookies of a session that the database has just returned.
func (t *sessionChange[T]) cookiesOf(token sid.Token, session sessioncache.Session[T]) cookies[T] {
	set := cookies[T]{token: token, remaining: remainingLifetime(session), persistent: session.Remembered}
	if !session.Anonymous() {
		set.user = &session.User
	}
	return set
}

// remainingLifetime returns the longest time that a session can still live, by the
// database's clock, and maxCookieAge if that is longer. Its cookie lasts as long.
func remainingLifetime[T any](session sessioncache.Session[T]) time.Duration {
	// Each is cut off before the addition, which could overflow.
	afterTTL := min(session.Deadline.Sub(session.ExpiresAt), maxCookieAge)
	return max(0, min(afterTTL+min(session.TTL, maxCookieAge), maxCookieAge))
}
