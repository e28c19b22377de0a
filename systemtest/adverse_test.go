package systemtest

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/rhaptos/sessiondb/sessioncache"
	"github.com/rhaptos/sessiondb/sessioncache/sessiontest"
	"github.com/rhaptos/sessiondb/sid"
)

var load = flag.Duration("load", 3*time.Second, "how long TestOverload and TestPurgersAmongCallers go on")

type cache = sessioncache.Cache[json.RawMessage]

func newCache(t *testing.T, maxConns int32, options ...sessioncache.Option) (*cache, *pgxpool.Pool) {
	t.Helper()
	t.Parallel()
	pool := sessiontest.NewPool(t, func(c *pgxpool.Config) { c.MaxConns = maxConns })
	return sessioncache.New[json.RawMessage](pool, options...), pool
}

func set(t *testing.T, cache *cache, user string) (id string) {
	t.Helper()
	id = sid.New().String()
	if err := cache.Set(t.Context(), id, json.RawMessage(user)); err != nil {
		t.Fatal(err)
	}
	return id
}

func wantUser(t *testing.T, cache *cache, id, want string) {
	t.Helper()
	if user, ok, err := cache.Get(t.Context(), id); err != nil || !ok || string(user) != want {
		t.Errorf("Get = %.40s (%d bytes), %v, %v; want %.40s", user, len(user), ok, err, want)
	}
}

// TestLargeUsers stores users of 1 and 10 MB, many at once, among small ones.
func TestLargeUsers(t *testing.T) {
	cache, _ := newCache(t, 4, sessioncache.WithMaxUserBytes(11<<20))
	large := map[string]string{}
	for i, megabytes := range []int{1, 1, 1, 1, 1, 1, 1, 1, 10, 10} {
		large[fmt.Sprintf(`{"n":%d,"text":"%s"}`, i, strings.Repeat("x☃\\n", megabytes<<20/6))] = ""
	}
	var all sync.WaitGroup
	for user := range large {
		all.Go(func() {
			id := set(t, cache, user)
			var readers sync.WaitGroup
			for range 4 {
				readers.Go(func() { wantUser(t, cache, id, user) })
			}
			for i := range 20 {
				readers.Go(func() {
					small := fmt.Sprintf(`{"small":%d}`, i)
					wantUser(t, cache, set(t, cache, small), small)
				})
			}
			readers.Wait()
		})
	}
	all.Wait()
}

// TestOverload has 1,024 callers with a deadline of 100 ms each share a pool of
// four. Not all are served; none is stuck, and nothing is when they have gone.
func TestOverload(t *testing.T) {
	cache, pool := newCache(t, 4)
	const callers, deadline = 1024, 100 * time.Millisecond
	ids := make([]string, 100)
	for i := range ids {
		ids[i] = set(t, cache, fmt.Sprintf(`{"n":%d}`, i))
	}
	var served, late, stuck atomic.Int64
	end := time.Now().Add(*load)
	var all sync.WaitGroup
	for caller := range callers {
		all.Go(func() {
			for n := caller; time.Now().Before(end); n++ {
				ctx, cancel := context.WithTimeout(t.Context(), deadline)
				began := time.Now()
				var err error
				if n%8 == 0 {
					err = cache.Set(ctx, sid.New().String(), json.RawMessage(`{}`))
				} else {
					var ok bool
					var user json.RawMessage
					user, ok, err = cache.Get(ctx, ids[n%len(ids)])
					if want := fmt.Sprintf(`{"n":%d}`, n%len(ids)); err == nil && (!ok || string(user) != want) {
						t.Errorf("Get = %s, %v; want %s", user, ok, want)
					}
				}
				cancel()
				switch {
				case err == nil:
					served.Add(1)
				case errors.Is(err, sessioncache.ErrUnavailable):
					late.Add(1)
				default:
					t.Error(err)
				}
				if time.Since(began) > deadline+overtime {
					stuck.Add(1)
				}
			}
		})
	}
	all.Wait()
	t.Logf("%d callers for %s: %d calls served, %d past their deadline of %s", callers, *load, served.Load(), late.Load(), deadline)
	if served.Load() == 0 || stuck.Load() > 0 {
		t.Errorf("%d calls were served, %d stuck", served.Load(), stuck.Load())
	}
	wantUser(t, cache, ids[7], `{"n":7}`)
	eventually(t, "every connection is given back", func() bool { return pool.Stat().AcquiredConns() == 0 })
}

// TestManySessionsOfOneUser lists and ends 10,000.
func TestManySessionsOfOneUser(t *testing.T) {
	cache, _ := newCache(t, 8)
	const sessions, at, listed = 10_000, 100, 1000
	me := sid.New().String()
	user := json.RawMessage(`{"user_id":"` + me + `"}`)
	var all sync.WaitGroup
	for range at {
		all.Go(func() {
			for range sessions / at {
				if _, err := cache.Issue(t.Context(), user); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	list, err := cache.UserSessions(t.Context(), me)
	if err != nil || len(list) != listed {
		t.Fatalf("UserSessions = %d, %v; want the newest %d", len(list), err, listed)
	}
	for _, session := range list {
		if string(session.User) != string(user) {
			t.Fatalf("UserSessions lists %s; want %s", session.User, user)
		}
	}
	if n, err := cache.DeleteUserSessions(t.Context(), me, list[0].Handle); err != nil || n != sessions-1 {
		t.Errorf("DeleteUserSessions = %d, %v; want %d", n, err, sessions-1)
	}
	left, err := cache.UserSessions(t.Context(), me)
	if err != nil || len(left) != 1 || left[0].Handle != list[0].Handle {
		t.Errorf("UserSessions = %d, %v; want the one that was excepted", len(left), err)
	}
}

// TestRunawayTransaction holds one session locked: those who change it wait as
// long as their context, and nobody else notices.
func TestRunawayTransaction(t *testing.T) {
	cache, pool := newCache(t, 6)
	held, free := set(t, cache, `{"a":1}`), set(t, cache, `{"b":2}`)
	tx, err := pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	user := json.RawMessage(`{"user_id":"held"}`)
	token, err := cache.Issue(t.Context(), user)
	if err != nil {
		t.Fatal(err)
	}
	change := func(*json.RawMessage) error { return nil }
	if ok, err := cache.WithTx(tx).Update(t.Context(), held, change); err != nil || !ok {
		t.Fatal(ok, err)
	}
	if ok, err := cache.WithTx(tx).UpdateSession(t.Context(), token, change); err != nil || !ok {
		t.Fatal(ok, err)
	}
	for name, call := range map[string]func(ctx context.Context) error{
		"Delete":             func(ctx context.Context) error { return cache.Delete(ctx, held) },
		"Update":             func(ctx context.Context) error { _, err := cache.Update(ctx, held, change); return err },
		"UpdateSession":      func(ctx context.Context) error { _, err := cache.UpdateSession(ctx, token, change); return err },
		"Renew":              func(ctx context.Context) error { _, _, err := cache.Renew(ctx, token); return err },
		"Revoke":             func(ctx context.Context) error { return cache.Revoke(ctx, token) },
		"DeleteSession":      func(ctx context.Context) error { _, err := cache.DeleteSession(ctx, token.Handle()); return err },
		"DeleteUserSessions": func(ctx context.Context) error { _, err := cache.DeleteUserSessions(ctx, "held"); return err },
	} {
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		began := time.Now()
		err := call(ctx)
		cancel()
		if !errors.Is(err, sessioncache.ErrUnavailable) || !errors.Is(err, context.DeadlineExceeded) || time.Since(began) > overtime {
			t.Errorf("%s of a session that is held: %v after %s", name, err, time.Since(began))
		}
	}
	wantUser(t, cache, held, `{"a":1}`)
	if session, ok, err := cache.Authenticate(t.Context(), token); err != nil || !ok || string(session.User) != string(user) {
		t.Errorf("Authenticate = %s, %v, %v; want %s", session.User, ok, err, user)
	}
	if ok, err := cache.Update(t.Context(), free, change); err != nil || !ok {
		t.Errorf("Update of another session = %v, %v", ok, err)
	}
	if err := tx.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	if ok, err := cache.Update(t.Context(), held, change); err != nil || !ok {
		t.Errorf("Update when it is free again = %v, %v", ok, err)
	}
}

// TestTableLocked locks the table until every call has given up: none says that a
// session is absent, and all is as before when the lock has gone.
func TestTableLocked(t *testing.T) {
	cache, pool := newCache(t, 6)
	id, other := set(t, cache, `{"a":1}`), set(t, cache, `{}`)
	err := pgx.BeginFunc(t.Context(), pool, func(tx pgx.Tx) error {
		if _, err := tx.Exec(t.Context(), "LOCK TABLE session_cache"); err != nil {
			return err
		}
		var all sync.WaitGroup
		for n := range 100 {
			all.Go(func() {
				ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
				defer cancel()
				began := time.Now()
				var err error
				if n%2 == 0 {
					_, _, err = cache.Get(ctx, id)
				} else {
					err = cache.Delete(ctx, other) // which may happen yet
				}
				if !errors.Is(err, sessioncache.ErrUnavailable) || time.Since(began) > overtime {
					t.Errorf("%v after %s", err, time.Since(began))
				}
			})
		}
		all.Wait()
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	wantUser(t, cache, id, `{"a":1}`)
}

// TestPurgersAmongCallers has ten purge at once while 64 callers log in, look and
// log out: nobody fails, every expired row goes, and counts once, and no live one
// does.
func TestPurgersAmongCallers(t *testing.T) {
	t.Parallel()
	url := sessiontest.NewDatabase(t).URL
	const purgers, callers = 10, 64
	var caches [servers]*cache
	for i := range caches {
		pool := newPool(t, url)
		defer pool.Close()
		caches[i] = sessioncache.New[json.RawMessage](pool)
	}
	outside := newPool(t, url)
	defer outside.Close()
	end := time.Now().Add(*load)
	var expired, purged, calls atomic.Int64
	var all sync.WaitGroup
	all.Go(func() {
		for time.Now().Before(end) {
			tag, err := outside.Exec(t.Context(), `
				INSERT INTO session_cache (sessionid, userdict, session_startutc, session_endutc, session_deadlineutc)
				SELECT gen_random_uuid(), '{"user_id":"gone"}', now() - interval '2 hours', now() - random() * interval '1 hour', now()
				FROM generate_series(1, 3000)`)
			if err != nil {
				t.Error(err)
				return
			}
			expired.Add(tag.RowsAffected())
		}
	})
	for i := range purgers {
		all.Go(func() {
			for time.Now().Before(end) {
				n, err := caches[i%servers].Purge(t.Context())
				purged.Add(n)
				if err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	for i := range callers {
		all.Go(func() {
			cache, mine := caches[i%servers], fmt.Sprintf(`{"n":%d}`, i)
			for time.Now().Before(end) {
				id := set(t, cache, mine)
				for range 5 {
					wantUser(t, caches[(i+1)%servers], id, mine)
					calls.Add(1)
				}
				if err := cache.Delete(t.Context(), id); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	n, err := caches[0].Purge(t.Context())
	if purged.Add(n); err != nil || purged.Load() != expired.Load() {
		t.Errorf("%d rows were purged, %v; want %d", purged.Load(), err, expired.Load())
	}
	stats, err := caches[0].Stats(t.Context())
	if err != nil || stats.Expired != 0 || stats.Live != 0 {
		t.Errorf("Stats = %+v, %v; want nothing left", stats, err)
	}
	t.Logf("%s: %d expired sessions purged by %d, among %d lookups of %d callers", *load, purged.Load(), purgers, calls.Load(), callers)
}
