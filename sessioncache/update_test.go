package sessioncache_test

import (
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/rhaptos/sessiondb/internal/suite"
	"github.com/rhaptos/sessiondb/sessioncache"
	"github.com/rhaptos/sessiondb/sessioncache/sessiontest"
)

func TestUpdateKeepsTheTimes(t *testing.T) {
	cache, pool := setup[raw](t, sessioncache.WithIdleTimeout(idleTimeout))
	me := newID()
	id := set(t, cache, userOf(me))
	sessiontest.Elapse(t, pool, named(id), time.Minute)
	before := storedRow(t, pool, id)
	ok, err := cache.Update(t.Context(), id, func(user *raw) error {
		*user = append(*user, ' ')
		return nil
	})
	if err != nil || !ok {
		t.Fatalf("Update = %v, %v", ok, err)
	}
	wantUser(t, cache, id, string(userOf(me))+" ")
	after := storedRow(t, pool, id)
	if after.Created != before.Created || after.Expires != before.Expires || after.Deadline != before.Deadline {
		t.Errorf("the session was %+v and is %+v", before, after)
	}
}

// TestUpdateCannotChangeTheUser: a login is a new session. In a caller's transaction
// the refusal undoes the change and nothing else.
func TestUpdateCannotChangeTheUser(t *testing.T) {
	cache, pool := setup[raw](t)
	me := newID()
	id, nobodys, token := set(t, cache, userOf(me)), set(t, cache, raw(`{}`)), issue(t, cache, userOf(me))
	err := pgx.BeginFunc(t.Context(), pool, func(tx pgx.Tx) error {
		for _, cache := range []*sessioncache.Cache[raw]{cache, cache.WithTx(tx)} {
			for _, user := range []string{string(userOf(newID())), `{}`, `{"user_id":null}`, `{"user_id":""}`} {
				change := func(stored *raw) error { *stored = raw(user); return nil }
				ok, err := cache.Update(t.Context(), id, change)
				wantError(t, "Update to "+user, notOK(ok, err), sessioncache.ErrUserChanged)
				ok, err = cache.UpdateSession(t.Context(), token, change)
				wantError(t, "UpdateSession to "+user, notOK(ok, err), sessioncache.ErrUserChanged)
			}
			ok, err := cache.Update(t.Context(), nobodys, func(stored *raw) error { *stored = userOf(me); return nil })
			wantError(t, "Update of nobody's session to a user", notOK(ok, err), sessioncache.ErrUserChanged)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	wantUser(t, cache, id, string(userOf(me)))
	wantUser(t, cache, nobodys, `{}`)
	wantOpens(t, cache, token, string(userOf(me)))
}

func TestUpdateAbsent(t *testing.T) {
	cache, pool := setup[counter](t)
	expired := set(t, cache, counter{})
	sessiontest.Elapse(t, pool, named(expired), 2*time.Hour)
	for name, id := range map[string]string{"absent": newID(), "expired": expired} {
		ok, err := cache.Update(t.Context(), id, func(*counter) error {
			t.Errorf("%s: the change was called", name)
			return nil
		})
		if err != nil || ok {
			t.Errorf("%s: Update = %v, %v; want false, nil", name, ok, err)
		}
		wantNone(t, cache, id)
	}
}

func TestUpdateRefusedChangesNothing(t *testing.T) {
	cache, pool := setup[raw](t)
	id := set(t, cache, raw(`{"n":1}`))
	refusal := errors.New("refused")
	ok, err := cache.Update(t.Context(), id, func(user *raw) error {
		*user = raw(`{"n":2}`)
		return refusal
	})
	if ok || err != refusal { //nolint:errorlint // as it is, not wrapped
		t.Errorf("Update = %v, %v; want the error of the change as it is", ok, err)
	}
	for _, bad := range []string{`null`, `{`, `{"a":"\u0000"}`} {
		ok, err = cache.Update(t.Context(), id, func(user *raw) error { *user = raw(bad); return nil })
		if ok {
			t.Errorf("Update to %s succeeded", bad)
		}
		wantError(t, "Update to "+bad, err, sessioncache.ErrInvalidUser)
	}
	suite.WantPanic(t, func() {
		_, _ = cache.Update(t.Context(), id, func(*raw) error { panic("in the change") })
	})
	wantUser(t, cache, id, `{"n":1}`)
	wantGivenBack(t, pool)
}

func TestUpdateRaceLosesNone(t *testing.T) {
	cache, _ := setup[counter](t)
	id := set(t, cache, counter{})
	const callers, rounds = 16, 100
	var all sync.WaitGroup
	for range callers {
		all.Go(func() {
			for range rounds {
				if ok, err := cache.Update(t.Context(), id, increment); err != nil || !ok {
					t.Errorf("Update = %v, %v", ok, err)
				}
			}
		})
	}
	all.Wait()
	got, ok, err := cache.Get(t.Context(), id)
	if err != nil || !ok || got.N != callers*rounds {
		t.Errorf("Get = %v, %v, %v; want %d", got, ok, err, callers*rounds)
	}
}

// TestUpdateRacingDelete checks that nothing brings a deleted session back.
func TestUpdateRacingDelete(t *testing.T) {
	cache, _ := setup[counter](t)
	for range 300 {
		id := set(t, cache, counter{})
		var updates sync.WaitGroup
		for range 4 {
			updates.Go(func() {
				for ok := true; ok; {
					var err error
					if ok, err = cache.Update(t.Context(), id, increment); err != nil {
						t.Error(err)
						return
					}
				}
			})
		}
		if err := cache.Delete(t.Context(), id); err != nil {
			t.Fatal(err)
		}
		wantNone(t, cache, id)
		updates.Wait()
		wantNone(t, cache, id)
	}
}

func TestUpdateInTransactionAfterRefusal(t *testing.T) {
	cache, pool := setup[raw](t)
	id := set(t, cache, raw(`{"n":1}`))
	tx, err := pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = tx.Rollback(t.Context()) }()
	inTx := cache.WithTx(tx)
	_, err = inTx.Update(t.Context(), id, func(user *raw) error { *user = raw(`{"a":"\u0000"}`); return nil })
	wantError(t, "Update", err, sessioncache.ErrInvalidUser)
	if ok, err := inTx.Update(t.Context(), id, func(user *raw) error { *user = raw(`{"n":2}`); return nil }); err != nil || !ok {
		t.Errorf("Update after one that PostgreSQL refused = %v, %v", ok, err)
	}
	if err := tx.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	wantUser(t, cache, id, `{"n":2}`)
}
