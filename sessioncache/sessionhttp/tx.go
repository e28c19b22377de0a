package sessionhttp

import (
	"context"
	"errors"
	"net/http"

	"github.com/jackc/pgx/v5"

	"github.com/rhaptos/sessiondb/sessioncache"
	"github.com/rhaptos/sessiondb/sid"
)

// Tx is the session of a request in a transaction of the application ([Manager.Tx]). Its
// methods do the same as the Manager's, in that transaction. Do not use it after the
// function that received it has returned.
type Tx[T any] struct {
	manager *Manager[T]
	cache   *sessioncache.Cache[T]
	inTx    bool

	ctx     context.Context
	session *requestSession[T]

	notAwaited error // ErrNotAwaited, once a change has returned it

	// They set cookies and report events, once all changes have happened.
	effects []func(w http.ResponseWriter)
}

// errCallback marks an error of a caller's function, which is returned unchanged.
type errCallback struct{ error }

// fakeOperations are the calls that work without a database, for a login of
// sessionhttptest.
var fakeOperations = map[string]bool{"update": true, "begin": true, "log out": true}

// run runs a change of the request's session. It locks the session and calls change. If
// change succeeds, run then sets the cookies and reports the events.
func (m *Manager[T]) run(w http.ResponseWriter, r *http.Request, op string, change func(t *Tx[T]) error) error {
	s, err := m.lock(r.Context())
	if err != nil {
		return failed(op, err)
	}
	defer s.unlock()
	if s.fake && !fakeOperations[op] {
		return failed(op, errFake)
	}
	t := &Tx[T]{manager: m, cache: m.cache, ctx: r.Context(), session: s}
	if s.live {
		t.cache = m.cache.WithInFlight()
	}
	if err := change(t); err != nil {
		s.forgetLookup() // the session may have changed
		if callback, ok := errors.AsType[errCallback](err); ok {
			return callback.error
		}
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

// deferNotAwaited records ErrNotAwaited and returns nil for it, because the change has
// happened: run returns the error after the effects. All other errors are returned.
func (t *Tx[T]) deferNotAwaited(err error) error {
	if errors.Is(err, sessioncache.ErrNotAwaited) {
		t.notAwaited = err
		return nil
	}
	return err
}

// Tx runs fn in a transaction at isolation level read committed, and commits it if fn
// returns nil. What fn changes with tx and with the session is committed together, or not
// at all. Cookies are set and events reported only after the commit. An error of fn is
// returned unchanged.
//
// Use it for changes to the application's own tables that decide who may log in. For
// example, a login must not be stored if its password is changed, and all other sessions
// are logged out, while the login is under way. The login reads the user's row FOR SHARE
// and compares the password's hash again, in the transaction that stores the session. The
// password change updates that row in the transaction that logs out the other sessions.
//
// In fn, run your own statements on tx before you call methods of session. In the other
// order two such transactions can deadlock.
//
// fn must not call the Manager's own methods with this request. They would wait for the
// row lock that this transaction holds, until the request's context ends.
func (m *Manager[T]) Tx(w http.ResponseWriter, r *http.Request, fn func(tx pgx.Tx, session *Tx[T]) error) error {
	return m.run(w, r, "transaction", func(t *Tx[T]) error {
		s, committed := t.session, false
		token, absent, credentials := s.token, s.absent, s.credentials
		defer func() { // in a defer, because fn may panic
			if !committed { // the request keeps the session that it came with
				s.token, s.absent, s.credentials = token, absent, credentials
				s.forgetLookup()
			}
		}()
		err := t.deferNotAwaited(t.cache.Tx(t.ctx, func(tx pgx.Tx, cache *sessioncache.Cache[T]) error {
			t.cache, t.inTx = cache, true
			if err := fn(tx, t); err != nil {
				return errCallback{err}
			}
			return nil
		}))
		committed = err == nil
		return err
	})
}

// onSuccess adds an effect, which runs once all changes have happened.
func (t *Tx[T]) onSuccess(effect func(w http.ResponseWriter)) {
	t.effects = append(t.effects, effect)
}

// wakeSessions has requests that wait for the end of these sessions check it now
// ([Manager.Context]).
func (t *Tx[T]) wakeSessions(tokens []sid.Token) {
	handles := make([]sid.Handle, len(tokens))
	for i, token := range tokens {
		handles[i] = token.Handle()
	}
	t.onSuccess(func(http.ResponseWriter) { t.manager.watcher.wakeSessions(handles...) })
}

// wakeUser does the same for all sessions of a user.
func (t *Tx[T]) wakeUser(userID string) {
	t.onSuccess(func(http.ResponseWriter) { t.manager.watcher.wakeUser(userID) })
}

// reportOnSuccess adds the report of an event.
func (t *Tx[T]) reportOnSuccess(event Event) {
	t.onSuccess(func(http.ResponseWriter) { t.manager.reportRequest(t.ctx, t.session, event) })
}

// needCookies returns an error if cookies cannot be set. It is called before anything
// changes.
func (t *Tx[T]) needCookies() error {
	switch {
	case t.session.response.headersSent.Load():
		return ErrHeadersSent
	case t.session.credentials.bearer:
		return ErrBearer
	}
	return nil
}

// reportSuperseded reports the event if another request has just renewed the token.
func (t *Tx[T]) reportSuperseded(err error) {
	if errors.Is(err, sessioncache.ErrSuperseded) {
		t.manager.reportRequest(t.ctx, t.session, Event{Kind: EventSuperseded, Handle: t.session.token.Handle(), Reason: err})
	}
}

// wrap adds the name of the call to an error of a Tx method. The Manager's own methods
// add it in run.
func (t *Tx[T]) wrap(op string, err error) error {
	if err == nil || !t.inTx {
		return err
	}
	if callback, ok := errors.AsType[errCallback](err); ok {
		return callback.error
	}
	return failed(op, err)
}
