package sessionhttp

import (
	"context"
	"errors"
	"net/http"

	"github.com/rhaptos/sessiondb/sessioncache"
	"github.com/rhaptos/sessiondb/sid"
)

// sessionChange is a change of a request's session: by a call of the Manager, or in a
// transaction of the application ([Tx]).
type sessionChange[T any] struct {
	manager *Manager[T]
	cache   *sessioncache.Cache[T]

	ctx     context.Context
	session *requestSession[T]

	notAwaited error // ErrNotAwaited, once a statement has returned it

	// They set cookies and report events, once all changes have happened.
	effects []func(w http.ResponseWriter)
}

// errCallback marks an error of a caller's function, which failed returns unchanged.
type errCallback struct{ error }

// fakeOperations are the calls that work without a database, for a login of
// sessionhttptest.
var fakeOperations = map[string]bool{"update": true, "begin": true, "log out": true}

// run runs a change of the request's session. It locks the session and calls do. If
// do succeeds, run then sets the cookies and reports the events.
func (m *Manager[T]) run(w http.ResponseWriter, r *http.Request, op string, do func(t *sessionChange[T]) error) error {
	s, err := m.lock(r.Context())
	if err != nil {
		return failed(op, err)
	}
	defer s.unlock()
	if s.fake && !fakeOperations[op] {
		return failed(op, errFake)
	}
	t := &sessionChange[T]{manager: m, cache: m.cache, ctx: r.Context(), session: s}
	if s.live {
		t.cache = m.cache.WithInFlight()
	}
	if err := do(t); err != nil {
		s.forgetLookup() // the session may have changed
		return failed(op, err)
	}
	if t.notAwaited != nil { // the request's context has ended, and the events are still reported
		t.ctx = context.WithoutCancel(t.ctx)
	}
	for _, effect := range t.effects {
		effect(w)
	}
	if t.notAwaited != nil {
		return failed(op, t.notAwaited)
	}
	return nil
}

// find looks the request's session up. From then on, a token that is superseded was in
// flight.
func (t *sessionChange[T]) find(
	find func(context.Context, *sessioncache.Cache[T], *requestSession[T]) (sessioncache.Session[T], error),
) (sessioncache.Session[T], error) {
	session, err := find(t.ctx, t.cache, t.session)
	if t.session.live {
		t.cache = t.cache.WithInFlight()
	}
	return session, err
}

// deferNotAwaited records ErrNotAwaited and returns nil for it, because the change has
// happened: run returns the error after the effects. All other errors are returned.
func (t *sessionChange[T]) deferNotAwaited(err error) error {
	if errors.Is(err, sessioncache.ErrNotAwaited) {
		t.notAwaited = err
		return nil
	}
	return err
}

// onSuccess adds an effect, which runs once all changes have happened.
func (t *sessionChange[T]) onSuccess(effect func(w http.ResponseWriter)) {
	t.effects = append(t.effects, effect)
}

// wakeSessions has requests that wait for the end of these sessions check it now
// ([Manager.Context]).
func (t *sessionChange[T]) wakeSessions(tokens []sid.Token) {
	handles := make([]sid.Handle, len(tokens))
	for i, token := range tokens {
		handles[i] = token.Handle()
	}
	t.onSuccess(func(http.ResponseWriter) { t.manager.watcher.wakeSessions(handles...) })
}

// wakeUser does the same for all sessions of a user.
func (t *sessionChange[T]) wakeUser(userID string) {
	t.onSuccess(func(http.ResponseWriter) { t.manager.watcher.wakeUser(userID) })
}

// reportOnSuccess adds the report of an event.
func (t *sessionChange[T]) reportOnSuccess(event Event) {
	t.onSuccess(func(http.ResponseWriter) { t.manager.reportRequest(t.ctx, t.session, event) })
}

// needCookies returns an error if cookies cannot be set. It is called before anything
// changes.
func (t *sessionChange[T]) needCookies() error {
	switch {
	case t.session.response.headersSent.Load():
		return ErrHeadersSent
	case t.session.credentials.bearer:
		return ErrBearer
	}
	return nil
}

// reportSuperseded reports the event if another request has just renewed the token.
func (t *sessionChange[T]) reportSuperseded(err error) {
	if errors.Is(err, sessioncache.ErrSuperseded) {
		t.manager.reportRequest(t.ctx, t.session, Event{Kind: EventSuperseded, Handle: t.session.token.Handle(), Reason: err})
	}
}
