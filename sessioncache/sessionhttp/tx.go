package sessionhttp

import (
	"context"
	"errors"
	"net/http"

	"github.com/jackc/pgx/v5"

	"github.com/rhaptos/sessiondb/sessioncache"
)

// Tx is the session of a request within a transaction of the application's
// ([Manager.Tx]): its methods are those of the Manager, part of that transaction. It
// must not be used after the function it was given to has returned.
type Tx[T any] struct {
	manager *Manager[T]
	cache   *sessioncache.Cache[T]
	inTx    bool

	ctx     context.Context
	session *requestSession[T]

	ends       bool  // sessions have ended, or tokens
	notAwaited error // what was changed has happened, but near caches were not awaited

	// What the client and the audit log learn once all of it has happened.
	effects []func(w http.ResponseWriter)
}

// errCallback marks an error of the caller's own function, which is returned as it
// is.
type errCallback struct{ error }

// inMemory are the calls that a login of a test may make.
var inMemory = map[string]bool{"update": true, "begin": true, "log out": true}

// run has the session of a request changed. It is what all calls that change one
// have in common: the session is held, the function makes changes, and cookies are
// set and events reported once they have happened.
func (m *Manager[T]) run(w http.ResponseWriter, r *http.Request, op string, change func(t *Tx[T]) error) error {
	s, err := m.lock(r.Context())
	if err != nil {
		return failed(op, err)
	}
	defer s.unlock()
	if s.fake && !inMemory[op] {
		return failed(op, errFake)
	}
	t := &Tx[T]{manager: m, cache: m.cache, ctx: r.Context(), session: s}
	if err := change(t); err != nil {
		s.forgetAnswer() // it may have changed or not
		if callback, ok := errors.AsType[errCallback](err); ok {
			return callback.error
		}
		return failed(op, err)
	}
	if t.notAwaited != nil { // the request's context has ended; an audit log is to hear of it all the same
		t.ctx = context.WithoutCancel(t.ctx)
	}
	for _, effect := range t.effects {
		effect(w)
	}
	if t.ends {
		m.watcher.wakeAll()
	}
	if t.notAwaited != nil {
		return failed(op, t.notAwaited)
	}
	return nil
}

// happened takes the error of a call that changes sessions, and returns it unless the
// change has happened. The error of one that has is noted, for after its effects.
func (t *Tx[T]) happened(err error) error {
	if errors.Is(err, sessioncache.ErrNotAwaited) {
		t.notAwaited = err
		return nil
	}
	return err
}

// Tx runs fn in a transaction of isolation level read committed, and commits it when
// fn returns nil. What fn does with tx and what it does with the session happen
// together, or not at all. Cookies are set, and events reported, after the commit
// only. An error of fn is returned as it is.
//
// It is for changes to the application's own tables that decide who may be logged in.
// A login whose password was checked before somebody changed it must not be stored
// after all others were logged out: let the login read the user's row FOR SHARE, and
// compare the password's hash again, in the transaction that stores the session; and
// let the change of the password update that row in the one that logs out the others.
// Use tx before the session: in the other order two such transactions can deadlock.
//
// fn must not call the Manager's own methods with this request: they wait for the
// session that the transaction holds, until the request's context ends.
func (m *Manager[T]) Tx(w http.ResponseWriter, r *http.Request, fn func(tx pgx.Tx, session *Tx[T]) error) error {
	return m.run(w, r, "transaction", func(t *Tx[T]) error {
		s, committed := t.session, false
		token, absent, credentials := s.token, s.absent, s.credentials
		defer func() { // not only after an error: fn may panic
			if !committed { // the request has the session that it came with
				s.token, s.absent, s.credentials = token, absent, credentials
				s.forgetAnswer()
			}
		}()
		err := t.happened(m.cache.Tx(t.ctx, func(tx pgx.Tx, cache *sessioncache.Cache[T]) error {
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

// atomically runs statements in a transaction of their own, or a savepoint: the
// application may go on after an error.
func (t *Tx[T]) atomically(statements func(cache *sessioncache.Cache[T]) error) error {
	return t.happened(t.cache.Tx(t.ctx, func(_ pgx.Tx, cache *sessioncache.Cache[T]) error { return statements(cache) }))
}

// then notes what happens once all changes have.
func (t *Tx[T]) then(effect func(w http.ResponseWriter)) {
	t.effects = append(t.effects, effect)
}

// thenReport notes an event.
func (t *Tx[T]) thenReport(event Event) {
	t.then(func(http.ResponseWriter) { t.manager.reportRequest(t.ctx, t.session, event) })
}

// needCookies refuses, before anything has changed, a call that has to set cookies
// and cannot.
func (t *Tx[T]) needCookies() error {
	switch {
	case t.session.response.begun.Load():
		return ErrTooLate
	case t.session.credentials.bearer:
		return ErrBearer
	}
	return nil
}

// reportSuperseded reports the error of a token that somebody else has just renewed.
func (t *Tx[T]) reportSuperseded(err error) {
	if errors.Is(err, sessioncache.ErrSuperseded) {
		t.manager.reportRequest(t.ctx, t.session, Event{Kind: EventSuperseded, Handle: t.session.token.Handle(), Reason: err})
	}
}

// wrap says which call of a Tx an error is of, where the Manager does not.
func (t *Tx[T]) wrap(op string, err error) error {
	if err == nil || !t.inTx {
		return err
	}
	if callback, ok := errors.AsType[errCallback](err); ok {
		return callback.error
	}
	return failed(op, err)
}
