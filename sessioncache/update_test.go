package sessioncache_test

import (
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/rhaptos/sessiondb/sessioncache"
)

type counter struct {
	N int `json:"n"`
}

func increment(c *counter) error {
	c.N++
	return nil
}

func TestUpdateKeepsTheTimes(t *testing.T) {
	cache, pool := setup[raw](t)
	me := newID()
	id := set(t, cache, userOf(me))
	shift(t, pool, id, -time.Minute)
	before, err := cache.UserSessions(t.Context(), me)
	if err != nil {
		t.Fatal(err)
	}
	ok, err := cache.Update(t.Context(), id, func(user *raw) error {
		*user = append(*user, ' ')
		return nil
	})
	if err != nil || !ok {
		t.Fatalf("Update = %v, %v", ok, err)
	}
	wantUser(t, cache, id, string(userOf(me))+" ")
	after, err := cache.UserSessions(t.Context(), me)
	if err != nil || len(after) != 1 || after[0].Start != before[0].Start || after[0].End != before[0].End {
		t.Errorf("the session was %v and is %v, %v", before, after, err)
	}
}

func TestUpdateAbsent(t *testing.T) {
	cache, pool := setup[counter](t)
	expired := set(t, cache, counter{})
	shift(t, pool, expired, -2*time.Hour)
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
	wantPanic(t, func() {
		_, _ = cache.Update(t.Context(), id, func(*raw) error { panic("in the change") })
	})
	wantUser(t, cache, id, `{"n":1}`)
	wantGivenBack(t, pool)
}

func wantPanic(t *testing.T, f func()) {
	t.Helper()
	defer func() {
		if recover() == nil {
			t.Error("it did not panic")
		}
	}()
	f()
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
