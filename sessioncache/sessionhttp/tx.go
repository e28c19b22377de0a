package sessionhttp

import (
	"net/http"
	"slices"

	"github.com/jackc/pgx/v5"

	"github.com/rhaptos/sessiondb/sessioncache"
	"github.com/rhaptos/sessiondb/sessioncache/internal/savepoint"
	"github.com/rhaptos/sessiondb/sid"
)

// Tx is the session of a request in a transaction of the application ([Manager.Tx]). Its
// methods do the same as the Manager's, in that transaction. Do not use it after the
// function that received it has returned.
type Tx[T any] struct {
	change  *sessionChange[T]
	changes *savepoint.Changes
	states  []state // before the first call and after each
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
// In fn, run your own statements on tx first. Then call LogoutOthers, LogoutEverywhere, and
// Login with [MaxSessions]. Then call the other methods of session. In another order two such
// transactions can deadlock.
//
// For a savepoint, call tx.Begin. If it is rolled back, the cookies and events of the calls in
// it are dropped, too. After ROLLBACK TO in SQL only the cookie is right.
//
// Commit within ten seconds of Login, Renew or Reauthenticated: the time in which requests
// with the former token count as in flight begins with the call.
//
// fn must not call the Manager's own methods with this request. They would wait for this
// call, until the request's context ends.
func (m *Manager[T]) Tx(w http.ResponseWriter, r *http.Request, fn func(tx pgx.Tx, session *Tx[T]) error) error {
	return m.run(w, r, "transaction", func(t *sessionChange[T]) error {
		before, committed := t.state(), false
		defer func() { // in a defer, because fn may panic
			if !committed { // the request keeps the session that it came with
				t.restore(before)
			}
		}()
		err := t.deferNotAwaited(t.cache.Tx(t.ctx, func(tx pgx.Tx, cache *sessioncache.Cache[T]) error {
			t.cache = cache
			session := &Tx[T]{t, savepoint.Of(tx).Changes, []state{before}}
			if err := fn(tx, session); err != nil {
				return errCallback{err}
			}
			return t.restoreUndone(session.states)
		}))
		committed = err == nil
		return err
	})
}

// state is what a savepoint takes back when it is rolled back.
type state struct {
	token       sid.Token
	absent      error
	live        bool
	credentials credentials
	effects     int
}

func (t *sessionChange[T]) state() state {
	s := t.session
	return state{s.token, s.absent, s.live, s.credentials, len(t.effects)}
}

func (t *sessionChange[T]) restore(was state) {
	s := t.session
	s.token, s.absent, s.live, s.credentials = was.token, was.absent, was.live, was.credentials
	t.effects = t.effects[:min(was.effects, len(t.effects))]
	s.forgetLookup()
}

// restoreUndone restores the newest state that is stored, if the application has undone in
// SQL what came after it: otherwise the browser would get the cookie of a session that is
// not stored. states are those after each call, and the first before all.
func (t *sessionChange[T]) restoreUndone(states []state) error {
	var tokens []sid.Token
	changed := false
	for _, s := range states {
		if s.absent == nil {
			tokens = append(tokens, s.token)
		}
		changed = changed || (s.absent == nil) != (states[0].absent == nil) || s.token.Reveal() != states[0].token.Reveal()
	}
	if !changed {
		return nil
	}
	alive, err := t.cache.Alive(t.ctx, tokens...)
	if err != nil {
		return err
	}
	newest := len(states) - 1
	for i := newest; i >= 0; i-- {
		stored := !slices.Contains(alive, true) // the state after a logout, if no session is left
		if states[i].absent == nil {
			stored, alive = alive[len(alive)-1], alive[:len(alive)-1]
		}
		switch {
		case stored && i == newest:
			return nil
		case stored:
			t.restore(states[i])
			return nil
		}
	}
	t.restore(states[0])
	return nil
}

// do calls a method of a change. If the savepoint that is open now is rolled back, what do
// has set is taken back.
func (t *Tx[T]) do(op string, do func() error) error {
	was, calls := t.change.state(), len(t.states)
	t.changes.OnRollback(func() {
		t.change.restore(was)
		t.states = t.states[:min(calls, len(t.states))]
	})
	if err := do(); err != nil {
		return failed(op, err)
	}
	t.states = append(t.states, t.change.state())
	return nil
}

// Login is [Manager.Login], in the transaction.
func (t *Tx[T]) Login(user T, options ...LoginOption) error {
	return t.do("log in", func() error { return t.change.login(user, newLoginOptions(options)) })
}

// LogoutEverywhere is [Manager.LogoutEverywhere], in the transaction.
func (t *Tx[T]) LogoutEverywhere() (n int64, err error) {
	err = t.do("log out everywhere", func() error { n, err = t.change.logoutEverywhere(); return err })
	return n, err
}

// LogoutOthers is [Manager.LogoutOthers], in the transaction.
func (t *Tx[T]) LogoutOthers() (n int64, err error) {
	err = t.do("log out elsewhere", func() error { n, err = t.change.logoutOthers(); return err })
	return n, err
}

// Reauthenticated is [Manager.Reauthenticated], in the transaction.
func (t *Tx[T]) Reauthenticated() error {
	return t.do("re-authenticate", t.change.reauthenticated)
}

// Renew is [Manager.Renew], in the transaction.
func (t *Tx[T]) Renew() error {
	return t.do("renew", func() error { return t.change.renew(EventRenew) })
}

// Update is [Manager.Update], in the transaction.
func (t *Tx[T]) Update(change func(user *T) error, options ...sessioncache.UpdateOption) error {
	return t.do("update", func() error { return t.change.update(change, options) })
}

// Handle returns the handle of the request's session, a user's or a visitor's, as it is in the
// transaction: after Login that of the new session. It is for rows of your own that refer to
// the session. Without a session the error is [ErrNoSession].
func (t *Tx[T]) Handle() (sid.Handle, error) {
	session, err := t.change.find(t.change.manager.find)
	if err != nil {
		return sid.Handle{}, failed("handle", err)
	}
	return session.Handle, nil
}
