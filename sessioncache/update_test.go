package sessioncache_test

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/rhaptos/sessiondb/internal/suite"
	"github.com/rhaptos/sessiondb/sessioncache"
	"github.com/rhaptos/sessiondb/sessioncache/sessiontest"
	"github.com/rhaptos/sessiondb/sid"
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

// TestUpdateHoldsNothing: while the change runs, the call holds no connection of the pool.
func TestUpdateHoldsNothing(t *testing.T) {
	t.Parallel()
	pool := sessiontest.NewPool(t, func(c *pgxpool.Config) { c.MaxConns = 1 })
	cache := sessioncache.New[counter](pool)
	id, token := set(t, cache, counter{}), issue(t, cache, counter{})
	other := set(t, cache, counter{7})
	use := func(c *counter) error {
		user, ok, err := cache.Get(t.Context(), other)
		if err != nil || !ok {
			return fmt.Errorf("Get = %v, %w", ok, err)
		}
		c.N = user.N
		return nil
	}
	for name, update := range map[string]func() (bool, error){
		"Update":        func() (bool, error) { return cache.Update(t.Context(), id, use) },
		"UpdateSession": func() (bool, error) { return cache.UpdateSession(t.Context(), token, use) },
		"Issue, carrying": func() (bool, error) {
			visitor := issue(t, cache, counter{1}, sessioncache.Anonymous())
			_, err := cache.Issue(t.Context(), counter{}, sessioncache.Replacing(visitor),
				sessioncache.Carry(func(_ counter, user *counter) error { return use(user) }))
			return err == nil, err
		},
	} {
		if ok, err := update(); err != nil || !ok {
			t.Errorf("%s = %v, %v", name, ok, err)
		}
	}
}

// TestUpdateDecodesAnew: a change that comes second is called again, with a value that the
// first call has not touched.
func TestUpdateDecodesAnew(t *testing.T) {
	type list struct{ Items []string }
	cache, _ := setup[list](t)
	id := set(t, cache, list{[]string{"a"}})
	calls := 0
	ok, err := cache.Update(t.Context(), id, func(l *list) error {
		if calls++; calls == 1 {
			if ok, err := cache.Update(t.Context(), id, func(l *list) error { l.Items = append(l.Items, "b"); return nil }); err != nil || !ok {
				t.Errorf("the Update in between = %v, %v", ok, err)
			}
		}
		l.Items = append(l.Items, "c")
		return nil
	})
	got, _, getErr := cache.Get(t.Context(), id)
	if err != nil || !ok || calls != 2 || getErr != nil || strings.Join(got.Items, "") != "abc" {
		t.Errorf("Update = %v, %v after %d calls; the list is %v, %v", ok, err, calls, got.Items, getErr)
	}
}

// TestUpdateSuppressed: a trigger suppresses the change. The error says so after some
// attempts.
func TestUpdateSuppressed(t *testing.T) {
	suite.Require(t, suite.OwnTable, suite.Undistributed)
	cache, pool := setup[counter](t)
	id, token := set(t, cache, counter{}), issue(t, cache, counter{})
	if _, err := pool.Exec(t.Context(), `
		CREATE FUNCTION suppress() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$;
		CREATE TRIGGER suppress BEFORE UPDATE ON session_cache FOR EACH ROW EXECUTE FUNCTION suppress()`); err != nil {
		t.Fatal(err)
	}
	calls := 0
	change := func(c *counter) error { calls++; return increment(c) }
	ok, err := cache.Update(t.Context(), id, change)
	wantError(t, "Update", notOK(ok, err), sessioncache.ErrUnavailable)
	ok, err = cache.UpdateSession(t.Context(), token, change)
	wantError(t, "UpdateSession", notOK(ok, err), sessioncache.ErrUnavailable)
	if calls > 100 {
		t.Errorf("%d calls of the change", calls)
	}
}

// TestCarryBesideBegins: while a visitor logs in, other tabs put things into the basket.
// What was stored before the login is carried, once; what comes later is refused.
func TestCarryBesideBegins(t *testing.T) {
	type basket struct {
		ID    string `json:"user_id,omitempty"`
		Items []int
	}
	cache, _ := setupRace[basket](t)
	var carried, refused atomic.Int64
	rounds(600, func() {
		visitor := issue(t, cache, basket{Items: []int{0}}, sessioncache.Anonymous())
		stored := make([]bool, 4)
		stored[0] = true
		var login sid.Token
		functions := []func(){func() {
			var err error
			login, err = cache.Issue(t.Context(), basket{ID: newID()}, sessioncache.Replacing(visitor),
				sessioncache.Carry(func(visitor basket, user *basket) error {
					user.Items = append(user.Items, visitor.Items...)
					return nil
				}))
			if err != nil {
				t.Errorf("Issue: %v", err)
			}
		}}
		for tab := 1; tab < len(stored); tab++ {
			functions = append(functions, func() {
				ok, err := cache.UpdateSession(t.Context(), visitor, func(b *basket) error { b.Items = append(b.Items, tab); return nil })
				switch {
				case ok && err == nil:
					stored[tab] = true
					carried.Add(1)
				case errors.Is(err, sessioncache.ErrSuperseded):
					refused.Add(1)
				default:
					t.Errorf("UpdateSession = %v, %v", ok, err)
				}
			})
		}
		atOnce(functions...)
		session, ok, err := cache.Authenticate(t.Context(), login)
		if err != nil || !ok {
			t.Errorf("Authenticate = %v, %v", ok, err)
			return
		}
		count := make([]int, len(stored))
		for _, item := range session.User.Items {
			count[item]++
		}
		for item, was := range stored {
			if was && count[item] != 1 || !was && count[item] != 0 {
				t.Errorf("item %d, stored: %v, is %d times in %v", item, was, count[item], session.User.Items)
			}
		}
	})
	t.Logf("%d carried, %d refused", carried.Load(), refused.Load())
	if carried.Load() == 0 || refused.Load() == 0 {
		t.Error("no race")
	}
}
