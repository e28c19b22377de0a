package sessioncache_test

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/rhaptos/sessiondb/internal/suite"
	"github.com/rhaptos/sessiondb/sessioncache"
	"github.com/rhaptos/sessiondb/sessioncache/sessiontest"
	"github.com/rhaptos/sessiondb/sid"
)

// TestRevokeOthers: whatever a request does to its user's sessions, it does by its token,
// and counts what was live.
func TestRevokeOthers(t *testing.T) {
	cache, pool := setup[raw](t)
	me := newID()
	here, there, expired := issue(t, cache, userOf(me)), issue(t, cache, userOf(me)), issue(t, cache, userOf(me))
	visitors := issue(t, cache, userOf(me), sessioncache.Anonymous())
	others := issue(t, cache, userOf(newID()))
	plain := set(t, cache, userOf(me))
	sessiontest.Elapse(t, pool, expired.Handle(), 2*time.Hour)

	for name, token := range map[string]sid.Token{"an unknown token": here.Renewed(), "an expired one": expired, "no session": sid.NewToken()} {
		n, ok, err := cache.RevokeOthers(t.Context(), token)
		if n != 0 || ok || err != nil {
			t.Errorf("RevokeOthers by %s = %d, %v, %v", name, n, ok, err)
		}
	}
	for name, token := range map[string]sid.Token{"a visitor": visitors, "a user without an id": issue(t, cache, raw(`{}`))} {
		_, ok, err := cache.RevokeOthers(t.Context(), token)
		wantError(t, "RevokeOthers by "+name, notOK(ok, err), sessioncache.ErrInvalidUser)
	}
	wantSessions(t, cache, me, there, here)

	for name, test := range map[string]struct {
		handle sid.Handle
		want   bool
	}{
		"another user's": {others.Handle(), false}, "a visitor's": {visitors.Handle(), false}, "a plain one": {tokenFor(t, plain).Handle(), false},
		"an expired one": {expired.Handle(), false}, "none": {sid.NewToken().Handle(), false},
	} {
		was, ok, err := cache.RevokeSession(t.Context(), here, test.handle)
		if was != test.want || !ok || err != nil {
			t.Errorf("RevokeSession of %s = %v, %v, %v", name, was, ok, err)
		}
	}
	n, ok, err := cache.RevokeOthers(t.Context(), here)
	if n != 2 || !ok || err != nil { // there, and the plain one
		t.Errorf("RevokeOthers = %d, %v, %v; want 2", n, ok, err)
	}
	wantSessions(t, cache, me, here)
	wantNone(t, cache, plain)
	wantOpens(t, cache, visitors, string(userOf(me)))
	wantOpens(t, cache, others, wholeUser(t, cache, others))

	there = issue(t, cache, userOf(me))
	was, ok, err := cache.RevokeSession(t.Context(), here, there.Handle())
	if !was || !ok || err != nil {
		t.Errorf("RevokeSession = %v, %v, %v", was, ok, err)
	}
	wantSessions(t, cache, me, here)
	n, ok, err = cache.RevokeAll(t.Context(), here)
	if n != 1 || !ok || err != nil {
		t.Errorf("RevokeAll = %d, %v, %v; want 1", n, ok, err)
	}
	wantSessions(t, cache, me)
}

func wholeUser(t *testing.T, cache *sessioncache.Cache[raw], token sid.Token) string {
	t.Helper()
	session, _, err := cache.Authenticate(t.Context(), token)
	if err != nil {
		t.Error(err)
	}
	return string(session.User)
}

// TestRevokeByAnEndedSession: the asker ends, and the user logs in anew, while
// RevokeOthers, RevokeAll or RevokeSession is under way. Either it came first, or it ends
// nothing: never the new login.
func TestRevokeByAnEndedSession(t *testing.T) {
	cache, _ := setupRace[raw](t)
	for name, revoke := range map[string]func(asker sid.Token, login sid.Handle) (bool, error){
		"RevokeOthers": func(asker sid.Token, _ sid.Handle) (bool, error) {
			_, ok, err := cache.RevokeOthers(t.Context(), asker)
			return ok, err
		},
		"RevokeAll": func(asker sid.Token, _ sid.Handle) (bool, error) {
			_, ok, err := cache.RevokeAll(t.Context(), asker)
			return ok, err
		},
		"RevokeSession": func(asker sid.Token, login sid.Handle) (bool, error) {
			_, ok, err := cache.RevokeSession(t.Context(), asker, login)
			return ok, err
		},
	} {
		var came, late atomic.Int64
		var lag lag
		rounds(1500, func() {
			me := newID()
			asker, other := issue(t, cache, userOf(me)), issue(t, cache, userOf(me))
			var login sid.Token
			atOnce(func() {
				defer lag.measure(time.Now())
				ok, err := revoke(asker, other.Handle())
				switch {
				case err != nil:
					t.Errorf("%s: %v", name, err)
				case ok:
					came.Add(1)
				default:
					late.Add(1)
				}
			}, func() {
				lag.wait()
				if err := cache.Revoke(t.Context(), asker); err != nil {
					t.Error(err)
				}
				login = issue(t, cache, userOf(me))
			})
			wantOpens(t, cache, login, string(userOf(me)))
		})
		t.Logf("%s: %d came first, %d late", name, came.Load(), late.Load())
		if came.Load() == 0 || late.Load() == 0 {
			t.Errorf("%s: no race", name)
		}
	}
}

// TestRevokeAllSeesEveryLogin: a login with MaxSessions that commits while RevokeAll waits
// for it ends, too.
func TestRevokeAllSeesEveryLogin(t *testing.T) {
	cache, pool := setup[raw](t)
	me := newID()
	asker := issue(t, cache, userOf(me))
	tx, err := pool.BeginTx(t.Context(), pgx.TxOptions{IsoLevel: pgx.ReadCommitted})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = tx.Rollback(context.WithoutCancel(t.Context())) }()
	login := issue(t, cache.WithTx(tx), userOf(me), sessioncache.MaxSessions(5))
	done := make(chan error, 1)
	go func() {
		n, ok, err := cache.RevokeAll(context.WithoutCancel(t.Context()), asker)
		if err == nil && (!ok || n != 2) {
			err = fmt.Errorf("RevokeAll = %d, %v; want 2", n, ok)
		}
		done <- err
	}()
	suite.WaitsFor(t, pool, tx)
	if err := tx.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
	wantDead(t, cache, asker, login)
}

// TestNoDeadlocks runs all that locks several rows of a user at once with each other, in
// the documented order: own rows, then calls about the user, then the session.
func TestNoDeadlocks(t *testing.T) {
	cache, _ := setupRace[raw](t)
	ctx := t.Context()
	ignore := func(err error) error {
		if errors.Is(err, sessioncache.ErrSuperseded) {
			return nil
		}
		return err
	}
	calls := map[string]func(cache *sessioncache.Cache[raw], me string, mine sid.Token) error{
		"Login": func(cache *sessioncache.Cache[raw], me string, mine sid.Token) error {
			return second(cache.Issue(ctx, userOf(me), sessioncache.MaxSessions(2), sessioncache.Replacing(mine)))
		},
		"RevokeOthers": func(cache *sessioncache.Cache[raw], _ string, mine sid.Token) error {
			_, _, err := cache.RevokeOthers(ctx, mine)
			return ignore(err)
		},
		"DeleteUserSessions": func(cache *sessioncache.Cache[raw], me string, mine sid.Token) error {
			return second(cache.DeleteUserSessions(ctx, me, mine.Handle()))
		},
		"Update": func(cache *sessioncache.Cache[raw], _ string, mine sid.Token) error {
			return ignore(second(cache.UpdateSession(ctx, mine, func(user *raw) error { *user = append(*user, ' '); return nil })))
		},
		"Renew": func(cache *sessioncache.Cache[raw], _ string, mine sid.Token) error {
			_, _, err := cache.Renew(ctx, mine)
			return ignore(err)
		},
		"Revoke": func(cache *sessioncache.Cache[raw], _ string, mine sid.Token) error { return cache.Revoke(ctx, mine) },
		"RevokeOthers and Renew": func(cache *sessioncache.Cache[raw], _ string, mine sid.Token) error {
			return cache.Tx(ctx, func(_ pgx.Tx, cache *sessioncache.Cache[raw]) error {
				if _, ok, err := cache.RevokeOthers(ctx, mine); err != nil || !ok {
					return ignore(err)
				}
				_, _, err := cache.Renew(ctx, mine)
				return ignore(err)
			})
		},
		"DeleteUserSessions and Update": func(cache *sessioncache.Cache[raw], me string, mine sid.Token) error {
			return cache.Tx(ctx, func(_ pgx.Tx, cache *sessioncache.Cache[raw]) error {
				if _, err := cache.DeleteUserSessions(ctx, me, mine.Handle()); err != nil {
					return err
				}
				return ignore(second(cache.UpdateSession(ctx, mine, func(user *raw) error { *user = append(*user, ' '); return nil })))
			})
		},
		"Login in a transaction": func(cache *sessioncache.Cache[raw], me string, mine sid.Token) error {
			return cache.Tx(ctx, func(_ pgx.Tx, cache *sessioncache.Cache[raw]) error {
				return second(cache.Issue(ctx, userOf(me), sessioncache.MaxSessions(2), sessioncache.Replacing(mine)))
			})
		},
	}
	for a, first := range calls {
		for b, other := range calls {
			if a > b {
				continue
			}
			rounds(25, func() {
				me := newID()
				tokens := []sid.Token{issue(t, cache, userOf(me)), issue(t, cache, userOf(me)), issue(t, cache, userOf(me))}
				var functions []func()
				for i, call := range []func(cache *sessioncache.Cache[raw], me string, mine sid.Token) error{first, other, first, other} {
					functions = append(functions, func() {
						if err := call(cache, me, tokens[i%len(tokens)]); err != nil {
							t.Errorf("%s beside %s: %v", a, b, err)
						}
					})
				}
				atOnce(functions...)
			})
		}
	}
}

// TestForeignKey: an application's row refers to the session. A transaction writes that row
// first and then changes the session, as the documentation says; and a session under such
// a transaction is still extended.
func TestForeignKey(t *testing.T) {
	suite.Require(t, suite.OwnTable, suite.Undistributed)
	cache, pool := setup[raw](t, sessioncache.WithIdleTimeout(idleTimeout))
	ctx := t.Context()
	if _, err := pool.Exec(ctx, `
		CREATE TABLE carts (session uuid NOT NULL REFERENCES session_cache ON DELETE CASCADE, n integer);
		CREATE INDEX ON carts (session)`); err != nil {
		t.Fatal(err)
	}
	changes := map[string]func(cache *sessioncache.Cache[raw], token sid.Token) error{
		"UpdateSession": func(cache *sessioncache.Cache[raw], token sid.Token) error {
			return second(cache.UpdateSession(ctx, token, func(user *raw) error { *user = append(*user, ' '); return nil }))
		},
		"Renew": func(cache *sessioncache.Cache[raw], token sid.Token) error {
			_, _, err := cache.Renew(ctx, token)
			if errors.Is(err, sessioncache.ErrSuperseded) {
				err = nil
			}
			return err
		},
		"RevokeSession": func(cache *sessioncache.Cache[raw], token sid.Token) error {
			_, _, err := cache.RevokeSession(ctx, token, sid.NewToken().Handle())
			return err
		},
	}
	for name, change := range changes {
		for range 20 {
			token := issue(t, cache, userOf(newID()))
			ready := make(chan struct{}, 2)
			pair := func() {
				err := cache.Tx(ctx, func(tx pgx.Tx, cache *sessioncache.Cache[raw]) error {
					_, err := tx.Exec(ctx, "INSERT INTO carts VALUES ($1, 1)", sid.ID(token.Handle()))
					ready <- struct{}{}
					for len(ready) < 2 { // until the other has written its row, too
						time.Sleep(time.Millisecond)
					}
					if err != nil {
						return err
					}
					return change(cache, token)
				})
				if err != nil {
					t.Errorf("%s: %v", name, err)
				}
			}
			atOnce(pair, pair)
		}
	}

	token := issue(t, cache, userOf("u"))
	sessiontest.Elapse(t, pool, token.Handle(), idleTimeout/2)
	err := pgx.BeginFunc(ctx, pool, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, "INSERT INTO carts VALUES ($1, 1)", sid.ID(token.Handle())); err != nil {
			return err
		}
		wantOpens(t, cache, token, string(userOf("u")))
		if left := ttl(t, pool, token.Handle().String()); left < idleTimeout-time.Minute {
			t.Errorf("under a row of the application the session has %s left; want it extended", left)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
