package sessioncache_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/rhaptos/sessiondb/sessioncache"
	"github.com/rhaptos/sessiondb/sessioncache/sessiontest"
)

func TestSetThenGet(t *testing.T) {
	cache, _ := setup[sessiontest.User](t)
	want := sessiontest.User{UserID: new("cnxuser:1"), FullName: new("Zoë O'Neil <z@example.org>")}
	id := set(t, cache, want)
	got, ok, err := cache.Get(t.Context(), id)
	if err != nil || !ok || *got.UserID != *want.UserID || *got.FullName != *want.FullName || got.Email != nil {
		t.Errorf("Get = %+v, %v, %v; want what was set", got, ok, err)
	}
}

func TestSetEitherCaseIsOneID(t *testing.T) {
	cache, _ := setup[raw](t)
	const lower, upper = "abcdef00-0000-4000-8000-00000000000a", "ABCDEF00-0000-4000-8000-00000000000A"
	if err := cache.Set(t.Context(), upper, raw(`{"a":1}`)); err != nil {
		t.Fatal(err)
	}
	wantUser(t, cache, lower, `{"a":1}`)
	wantError(t, "Set in the other case", cache.Set(t.Context(), lower, raw(`{}`)), sessioncache.ErrConflict)
	wantNone(t, cache, upper)
}

func TestSetTwiceEndsTheSession(t *testing.T) {
	cache, pool := setup[raw](t)
	id := set(t, cache, raw(`{"first":1}`))
	wantError(t, "second Set", cache.Set(t.Context(), id, raw(`{"second":2}`)), sessioncache.ErrConflict)
	wantNone(t, cache, id)

	expired := set(t, cache, raw(`{}`))
	sessiontest.Elapse(t, pool, named(expired), 2*time.Hour)
	wantError(t, "Set on an expired id", cache.Set(t.Context(), expired, raw(`{}`)), sessioncache.ErrConflict)
	wantNone(t, cache, expired)
}

// TestSetOnAnothersID: a handle, and an id of another audience, are in use, and the
// session there is not Set's to end.
func TestSetOnAnothersID(t *testing.T) {
	cache, pool := setup[raw](t)
	token := issue(t, cache, raw(`{"token":1}`))
	other := sessioncache.New[raw](pool, sessioncache.WithAudience("other"))
	id := set(t, other, raw(`{"other":1}`))
	for name, id := range map[string]string{"handle": token.Handle().String(), "id of another audience": id} {
		wantError(t, "Set on a "+name, cache.Set(t.Context(), id, raw(`{}`)), sessioncache.ErrConflict)
		wantNone(t, cache, id)
	}
	wantOpens(t, cache, token, `{"token":1}`)
	wantUser(t, other, id, `{"other":1}`)
}

func TestSetLifetime(t *testing.T) {
	for _, d := range []time.Duration{time.Second, 90 * time.Minute, 400 * 24 * time.Hour} {
		t.Run(d.String(), func(t *testing.T) {
			cache, pool := setup[raw](t, sessioncache.WithLifetime(d))
			id := set(t, cache, raw(`{}`))
			var got time.Duration
			err := pool.QueryRow(t.Context(), `SELECT session_endutc - session_startutc FROM session_cache WHERE sessionid = $1`, id).Scan(&got)
			if err != nil || got != d {
				t.Errorf("the session is %v long, %v; want %v", got, err, d)
			}
		})
	}
}

// TestSetRace has many callers Set one id at the same moment. Whoever comes
// second ends the session, so that at most every other one can succeed; and with
// exactly two callers nobody is left.
func TestSetRace(t *testing.T) {
	t.Parallel()
	pool := sessiontest.NewPool(t, func(c *pgxpool.Config) { c.MaxConns = 32 })
	cache := sessioncache.New[raw](pool)
	for _, race := range []struct{ callers, rounds int }{{32, 1000}, {2, 1000}} {
		t.Run(fmt.Sprint(race.callers, " callers"), func(t *testing.T) {
			for range race.rounds {
				id := newID()
				succeeded, conflicts := setAtOnce(t, race.callers, func(int) error {
					return cache.Set(t.Context(), id, raw(`{}`))
				})
				if conflicts < 1 || succeeded < 1 || succeeded > (race.callers+1)/2 {
					t.Fatalf("%d callers: %d succeeded, %d conflicts", race.callers, succeeded, conflicts)
				}
				if race.callers == 2 {
					wantNone(t, cache, id)
				}
			}
		})
	}
}

// TestSetRaceInTransactions is the race of two callers, each in a transaction of
// its own, which has to go on.
func TestSetRaceInTransactions(t *testing.T) {
	cache, pool := setup[raw](t)
	for range 1000 {
		id := newID()
		others := [2]string{newID(), newID()}
		_, conflicts := setAtOnce(t, 2, func(caller int) error {
			var result error
			err := pgx.BeginTxFunc(t.Context(), pool, pgx.TxOptions{IsoLevel: pgx.ReadCommitted}, func(tx pgx.Tx) error {
				result = cache.WithTx(tx).Set(t.Context(), id, raw(`{}`))
				return cache.WithTx(tx).Set(t.Context(), others[caller], raw(`{}`))
			})
			return errors.Join(err, result)
		})
		if conflicts != 1 {
			t.Fatalf("%d conflicts; want 1", conflicts)
		}
		wantNone(t, cache, id)
		wantUser(t, cache, others[0], `{}`)
		wantUser(t, cache, others[1], `{}`)
	}
}

// setAtOnce starts the callers at one moment and counts their results.
func setAtOnce(t *testing.T, callers int, set func(caller int) error) (succeeded, conflicts int) {
	t.Helper()
	var nils, errConflicts atomic.Int32
	start := make(chan struct{})
	var all sync.WaitGroup
	for caller := range callers {
		all.Go(func() {
			<-start
			switch err := set(caller); {
			case err == nil:
				nils.Add(1)
			case errors.Is(err, sessioncache.ErrConflict):
				errConflicts.Add(1)
			default:
				t.Error(err)
			}
		})
	}
	close(start)
	all.Wait()
	if t.Failed() {
		t.FailNow()
	}
	return int(nils.Load()), int(errConflicts.Load())
}

func TestSetConflictLeavesTransactionUsable(t *testing.T) {
	cache, pool := setup[raw](t)
	id := set(t, cache, raw(`{}`))
	other := newID()
	err := pgx.BeginFunc(t.Context(), pool, func(tx pgx.Tx) error {
		inTx := cache.WithTx(tx)
		wantError(t, "Set", inTx.Set(t.Context(), id, raw(`{}`)), sessioncache.ErrConflict)
		wantNone(t, inTx, id)
		return inTx.Set(t.Context(), other, raw(`{"in":"tx"}`))
	})
	if err != nil {
		t.Fatal(err)
	}
	wantNone(t, cache, id)
	wantUser(t, cache, other, `{"in":"tx"}`)
}

func TestWithTxRollsBack(t *testing.T) {
	cache, pool := setup[raw](t)
	id := newID()
	rollback := errors.New("roll back")
	err := pgx.BeginFunc(t.Context(), pool, func(tx pgx.Tx) error {
		if err := cache.WithTx(tx).Set(t.Context(), id, raw(`{}`)); err != nil {
			return err
		}
		wantUser(t, cache.WithTx(tx), id, `{}`)
		wantNone(t, cache, id)
		return rollback
	})
	if !errors.Is(err, rollback) {
		t.Fatal(err)
	}
	wantNone(t, cache, id)
}

func TestCacheOnOneConnection(t *testing.T) {
	t.Parallel()
	conn, err := pgx.Connect(t.Context(), sessiontest.NewDatabase(t).URL)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	cache := sessioncache.New[raw](conn)
	id := set(t, cache, raw(`{"n":1}`))
	if ok, err := cache.Update(t.Context(), id, func(user *raw) error { *user = raw(`{"n":2}`); return nil }); err != nil || !ok {
		t.Errorf("Update = %v, %v", ok, err)
	}
	wantUser(t, cache, id, `{"n":2}`)
	me := userOf(newID())
	token := renew(t, cache, issue(t, cache, me, sessioncache.MaxSessions(1)))
	wantOpens(t, cache, token, string(me))
}
