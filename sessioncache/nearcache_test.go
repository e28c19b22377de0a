package sessioncache_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/rhaptos/sessiondb/internal/suite"
	"github.com/rhaptos/sessiondb/sessioncache"
	"github.com/rhaptos/sessiondb/sessioncache/sessiontest"
	"github.com/rhaptos/sessiondb/sid"
)

// wantHit expects that memory answers.
func wantHit[T any](t *testing.T, near *sessioncache.Cache[T], call func()) {
	t.Helper()
	before := near.Metrics()
	call()
	after := near.Metrics()
	if after.NearCache.Hits != before.NearCache.Hits+1 || after.Hits != before.Hits+1 {
		t.Errorf("hits: %d, %d in memory; then %d, %d", before.Hits, before.NearCache.Hits, after.Hits, after.NearCache.Hits)
	}
}

func TestNearCacheAnswersFromMemory(t *testing.T) {
	near, other, _ := setupNear[raw](t)
	user := raw(`{"user_id":"u","x":1}`)
	id, token := set(t, other, user), issue(t, other, user)
	wantUser(t, near, id, string(user))
	wantOpens(t, near, token, string(user))
	wantHit(t, near, func() { wantUser(t, near, id, string(user)) })
	wantHit(t, near, func() { wantOpens(t, near, token, string(user)) })

	stored, _, err := other.Authenticate(t.Context(), token)
	if err != nil {
		t.Fatal(err)
	}
	wantHit(t, near, func() {
		session, ok, err := near.Authenticate(t.Context(), token)
		if err != nil || !ok || session.UserID != "u" || session.Handle != token.Handle() || session.State != sessioncache.StateLive ||
			!session.CreatedAt.Equal(stored.CreatedAt) || !session.ExpiresAt.Equal(stored.ExpiresAt) ||
			!session.Deadline.Equal(stored.Deadline) || !session.AuthenticatedAt.Equal(stored.AuthenticatedAt) {
			t.Errorf("Authenticate from memory = %+v, %v, %v; want %+v", session, ok, err, stored)
		}
		if session.TTL > stored.TTL+time.Minute || session.TTL < stored.TTL-time.Minute {
			t.Errorf("TTL = %s; want about %s", session.TTL, stored.TTL)
		}
	})
}

// TestNearCacheAsksAboutOtherSecrets: memory lets in with the secret it knows, and is no
// oracle for others.
func TestNearCacheAsksAboutOtherSecrets(t *testing.T) {
	near, other, _ := setupNear[raw](t)
	token := issue(t, other, raw(`{}`))
	wantOpens(t, near, token, `{}`)
	wantHit(t, near, func() { wantOpens(t, near, token, `{}`) })
	before := near.Metrics()
	wantOpensNone(t, near, token.Renewed())
	wantNone(t, near, sid.ID(token.Handle()).String())
	if after := near.Metrics(); after.NearCache.Hits != before.NearCache.Hits || after.Misses != before.Misses+2 {
		t.Errorf("Metrics = %+v; then %+v", before, after)
	}
	wantHit(t, near, func() { wantOpens(t, near, token, `{}`) })
}

// TestNearCacheSeesEveryChange makes each kind of change on another server. Once it has
// returned, memory does not show what was before.
func TestNearCacheSeesEveryChange(t *testing.T) {
	near, other, pool := setupNear[raw](t)
	ctx := t.Context()
	const before, after = `{"user_id":"u"}`, `{"user_id":"u","n":1}`
	change := func(user *raw) error { *user = raw(after); return nil }
	inTx := func(do func(cache *sessioncache.Cache[raw]) error) error {
		return other.Tx(ctx, func(_ pgx.Tx, cache *sessioncache.Cache[raw]) error { return do(cache) })
	}
	for name, test := range map[string]struct {
		do   func(id string, token sid.Token) error
		want string // of the session by then; none if empty
	}{
		"Delete": {func(id string, token sid.Token) error {
			return errors.Join(other.Delete(ctx, id), other.Revoke(ctx, token))
		}, ""},
		"DeleteSession": {func(id string, token sid.Token) error {
			_, err := other.DeleteSession(ctx, token.Handle())
			return errors.Join(err, other.Delete(ctx, id))
		}, ""},
		"Update": {func(id string, token sid.Token) error {
			_, err := other.Update(ctx, id, change)
			return errors.Join(err, second(other.UpdateSession(ctx, token, change)))
		}, after},
		"Renew": {func(id string, token sid.Token) error {
			_, _, err := other.Renew(ctx, token)
			return errors.Join(err, other.Delete(ctx, id))
		}, ""},
		"Retire": {func(id string, token sid.Token) error {
			return errors.Join(second(other.Retire(ctx, token)), other.Delete(ctx, id))
		}, ""},
		"conflict": {func(id string, token sid.Token) error {
			if err := other.Set(ctx, id, raw(`{}`)); !errors.Is(err, sessioncache.ErrConflict) {
				return fmt.Errorf("Set = %w", err)
			}
			return other.Revoke(ctx, token)
		}, ""},
		"Tx": {func(id string, token sid.Token) error {
			return inTx(func(cache *sessioncache.Cache[raw]) error {
				return errors.Join(cache.Delete(ctx, id), cache.Revoke(ctx, token))
			})
		}, ""},
		"Tx in Tx": {func(id string, token sid.Token) error {
			return inTx(func(cache *sessioncache.Cache[raw]) error {
				return cache.Tx(ctx, func(_ pgx.Tx, cache *sessioncache.Cache[raw]) error {
					return errors.Join(cache.Delete(ctx, id), cache.Revoke(ctx, token))
				})
			})
		}, ""},
		"raw SQL": {func(id string, token sid.Token) error {
			_, err := pool.Exec(ctx, "DELETE FROM session_cache WHERE sessionid IN ($1, $2)", id, sid.ID(token.Handle()))
			return errors.Join(err, other.AwaitNearCaches(ctx))
		}, ""},
		"itself": {func(id string, token sid.Token) error {
			return errors.Join(near.Delete(ctx, id), near.Revoke(ctx, token))
		}, ""},
	} {
		id, token := set(t, other, raw(before)), issue(t, other, raw(before))
		for range 2 {
			wantUser(t, near, id, before)
			wantOpens(t, near, token, before)
		}
		wantHit(t, near, func() { wantUser(t, near, id, before) })
		wantHit(t, near, func() { wantOpens(t, near, token, before) })
		if err := test.do(id, token); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		user, ok, err := near.Get(ctx, id)
		if err != nil || string(user) != test.want {
			t.Errorf("after %s: Get = %s, %v, %v; want %q", name, user, ok, err, test.want)
		}
		session, ok, err := near.Authenticate(ctx, token)
		if errors.Is(err, sessioncache.ErrSuperseded) {
			err = nil
		}
		if err != nil || string(session.User) != test.want {
			t.Errorf("after %s: Authenticate = %s, %v, %v; want %q", name, session.User, ok, err, test.want)
		}
	}
}

func TestNearCacheSeesDeleteUserSessions(t *testing.T) {
	near, other, _ := setupNear[raw](t)
	userID := newID()
	user := userOf(userID)
	a, b := issue(t, other, user), issue(t, other, user)
	for range 2 {
		wantOpens(t, near, a, string(user))
		wantOpens(t, near, b, string(user))
	}
	if n, err := other.DeleteUserSessions(t.Context(), userID, b.Handle()); n != 1 || err != nil {
		t.Errorf("DeleteUserSessions = %d, %v", n, err)
	}
	wantOpensNone(t, near, a)
	wantOpens(t, near, b, string(user))
}

// TestNearCacheRace races lookups on one server with logouts on others.
func TestNearCacheRace(t *testing.T) {
	near, _, pool := setupNear[raw](t)
	const rounds, sessions = 8, 250
	for range rounds {
		ids := make([]string, sessions)
		for i := range ids {
			ids[i] = set(t, near, raw(`{}`))
		}
		var all sync.WaitGroup
		for _, id := range ids {
			all.Go(func() {
				cache := sessioncache.New[raw](pool)
				for range 3 {
					if _, _, err := near.Get(t.Context(), id); err != nil {
						t.Error(err)
					}
				}
				stop := make(chan struct{})
				var readers sync.WaitGroup
				readers.Go(func() {
					for {
						select {
						case <-stop:
							return
						default:
							if _, _, err := near.Get(t.Context(), id); err != nil {
								t.Error(err)
							}
							time.Sleep(time.Millisecond) // not to keep the processors from the others
						}
					}
				})
				if err := cache.Delete(t.Context(), id); err != nil {
					t.Error(err)
				}
				wantNone(t, near, id)
				close(stop)
				readers.Wait()
				wantNone(t, near, id)
			})
		}
		all.Wait()
	}
	if m := near.Metrics().NearCache; m.Hits < rounds*sessions || m.FailedPolls > 0 {
		t.Errorf("%+v: memory was hardly used", m)
	}
}

// changesOf are the calls that wait for near caches, whatever they find.
func changesOf(ctx context.Context, cache *sessioncache.Cache[raw]) map[string]func() error {
	change := func(*raw) error { return nil }
	return map[string]func() error{
		"Delete":             func() error { return cache.Delete(ctx, newID()) },
		"Revoke":             func() error { return cache.Revoke(ctx, sid.NewToken()) },
		"DeleteSession":      func() error { return second(cache.DeleteSession(ctx, sid.NewToken().Handle())) },
		"DeleteUserSessions": func() error { return second(cache.DeleteUserSessions(ctx, "nobody")) },
		"Update":             func() error { return second(cache.Update(ctx, newID(), change)) },
		"UpdateSession":      func() error { return second(cache.UpdateSession(ctx, sid.NewToken(), change)) },
		"Renew":              func() error { _, _, err := cache.Renew(ctx, sid.NewToken()); return err },
		"Retire":             func() error { return second(cache.Retire(ctx, sid.NewToken())) },
		"Issue with a limit": func() error { return second(cache.Issue(ctx, userOf("v"), sessioncache.MaxSessions(2))) },
		"AwaitNearCaches":    func() error { return cache.AwaitNearCaches(ctx) },
		"Tx": func() error {
			return cache.Tx(ctx, func(_ pgx.Tx, cache *sessioncache.Cache[raw]) error { return cache.Delete(ctx, newID()) })
		},
	}
}

// quickest is the quickest of a few calls: the machine may be busy.
func quickest(t *testing.T, name string, do func() error) time.Duration {
	t.Helper()
	var took []time.Duration
	for range 5 {
		start := time.Now()
		if err := do(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		took = append(took, time.Since(start))
		if took[len(took)-1] < sessioncache.NearCacheStaleness {
			break
		}
	}
	return slices.Min(took)
}

// TestEveryChangeWaits: whatever a change has found, somebody else's may have committed a
// moment ago. While no near cache is in use, nobody waits.
func TestEveryChangeWaits(t *testing.T) {
	suite.Require(t, suite.OwnTable, suite.Undistributed)
	t.Parallel()
	ctx := t.Context()
	pool := sessiontest.NewPool(t)
	cache := sessioncache.New[raw](pool)
	id, token := set(t, cache, userOf("u")), issue(t, cache, userOf("u"))
	changes := changesOf(ctx, cache)
	others := map[string]func() error{
		"Get":          func() error { _, _, err := cache.Get(ctx, id); return err },
		"Authenticate": func() error { _, _, err := cache.Authenticate(ctx, token); return err },
		"Set":          func() error { return cache.Set(ctx, newID(), raw(`{}`)) },
		"Issue":        func() error { return second(cache.Issue(ctx, userOf("v"))) },
		"Tx that only reads": func() error {
			return cache.Tx(ctx, func(_ pgx.Tx, cache *sessioncache.Cache[raw]) error {
				_, _, err := cache.Session(ctx, token.Handle())
				return err
			})
		},
		"WithTx": func() error {
			return pgx.BeginFunc(ctx, pool, func(tx pgx.Tx) error { return cache.WithTx(tx).Delete(ctx, newID()) })
		},
	}
	for name, do := range changes {
		if took := quickest(t, name, do); took >= sessioncache.NearCacheStaleness {
			t.Errorf("%s took %s while no near cache is in use", name, took)
		}
	}
	near := sessioncache.New[raw](pool, sessioncache.WithNearCache(1))
	suite.Eventually(t, "a near cache is in use", func() bool {
		if _, _, err := near.Get(ctx, id); err != nil {
			t.Fatal(err)
		}
		return near.Metrics().NearCache.Hits > 0
	})
	for name, do := range changes {
		if took := quickest(t, name, do); took < sessioncache.NearCacheStaleness {
			t.Errorf("%s took %s while a near cache is in use", name, took)
		}
	}
	for name, do := range others {
		if took := quickest(t, name, do); took >= sessioncache.NearCacheStaleness {
			t.Errorf("%s took %s while a near cache is in use", name, took)
		}
	}
}

// TestChangeWhoseContextEndsWhileItWaits has happened, and says so.
func TestChangeWhoseContextEndsWhileItWaits(t *testing.T) {
	_, other, _ := setupNear[raw](t)
	id := set(t, other, raw(`{}`))
	if err := other.AwaitNearCaches(t.Context()); err != nil { // it knows now that they are in use
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), sessioncache.NearCacheStaleness-50*time.Millisecond)
	defer cancel()
	err := other.Delete(ctx, id)
	wantError(t, "Delete", err, sessioncache.ErrNotAwaited)
	wantErrorIs(t, "Delete", err, context.DeadlineExceeded)
	wantNone(t, other, id)
	if other.Metrics().Deletes != 1 {
		t.Errorf("%d Deletes are counted", other.Metrics().Deletes)
	}
}

func TestNearCacheOfUsersThatPoint(t *testing.T) {
	suite.Require(t, suite.OwnTable, suite.Undistributed)
	type user struct{ Roles []string }
	clone := func(u user) user { return user{slices.Clone(u.Roles)} }
	near, other, _ := setupNear[user](t, sessioncache.WithClone(clone))
	id := set(t, other, user{[]string{"reader"}})
	for range 3 {
		got, ok, err := near.Get(t.Context(), id)
		if err != nil || !ok || got.Roles[0] != "reader" {
			t.Fatalf("Get = %v, %v, %v", got, ok, err)
		}
		got.Roles[0] = "admin"
	}
	if near.Metrics().NearCache.Hits == 0 {
		t.Error("nothing was answered from memory")
	}
}

func TestNearCacheOptions(t *testing.T) {
	t.Parallel()
	pool := sessiontest.NewPool(t)
	suite.WantPanic(t, func() { sessioncache.WithNearCache(0) })
	suite.WantPanic(t, func() { sessioncache.WithClone[raw](nil) })
	suite.WantPanic(t, func() {
		sessioncache.New[raw](pool, sessioncache.WithClone(func(u string) string { return u }))
	})
}

// TestNearCacheWithoutAFeed asks the database where triggers are disabled.
func TestNearCacheWithoutAFeed(t *testing.T) {
	suite.Require(t, suite.OwnTable, suite.Undistributed)
	t.Parallel()
	pool := sessiontest.NewPool(t)
	if _, err := pool.Exec(t.Context(), "ALTER TABLE session_cache DISABLE TRIGGER USER"); err != nil {
		t.Fatal(err)
	}
	wantUnused(t, pool)
}

// TestNearCacheBeforeMigration3 asks the database where there is no feed at all, as on
// Citus, and no change waits.
func TestNearCacheBeforeMigration3(t *testing.T) {
	suite.Require(t, suite.OwnTable)
	t.Parallel()
	pool := sessiontest.NewPool(t)
	_, err := pool.Exec(t.Context(), `
		DROP FUNCTION IF EXISTS session_cache_deleted, session_cache_updated, session_cache_truncated,
			session_cache_row_deleted, session_cache_row_updated CASCADE;
		DROP TABLE IF EXISTS session_change, session_change_epoch, session_change_state`)
	if err != nil {
		t.Fatal(err)
	}
	near := wantUnused(t, pool)
	ctx, id, token := t.Context(), set(t, near, userOf("u")), issue(t, near, userOf("u"))
	calls := changesOf(ctx, near)
	calls["Get"] = func() error { _, _, err := near.Get(ctx, id); return err }
	calls["Authenticate"] = func() error { _, _, err := near.Authenticate(ctx, token); return err }
	for name, do := range calls {
		if took := quickest(t, name, do); took >= sessioncache.NearCacheStaleness {
			t.Errorf("%s took %s", name, took)
		}
	}
}

// wantUnused expects that a near cache has the database answer every lookup, and says so
// once.
func wantUnused(t *testing.T, pool *pgxpool.Pool) (near *sessioncache.Cache[raw]) {
	t.Helper()
	var log suite.Log
	near = sessioncache.New[raw](pool, sessioncache.WithNearCache(10), sessioncache.WithLogger(log.Logger(slog.LevelInfo)))
	id, token := set(t, near, raw(`{}`)), issue(t, near, raw(`{}`))
	suite.Eventually(t, "three polls have failed", func() bool {
		wantUser(t, near, id, `{}`)
		wantOpens(t, near, token, `{}`)
		return near.Metrics().NearCache.FailedPolls >= 3
	})
	if m := near.Metrics().NearCache; m.Hits != 0 || m.Entries != 0 {
		t.Errorf("%+v: memory was used without a feed", m)
	}
	execute(t, pool, "DELETE FROM session_cache WHERE sessionid = $1", id)
	execute(t, pool, "DELETE FROM session_cache WHERE sessionid = $1", token.Handle())
	wantNone(t, near, id)
	wantOpensNone(t, near, token)
	if got := log.String(); strings.Count(got, "near cache without a change feed") != 1 {
		t.Errorf("the log says: %s", got)
	}
	return near
}

func TestEnded(t *testing.T) {
	near, other, _ := setupNear[raw](t)
	for name, cache := range map[string]*sessioncache.Cache[raw]{"with a near cache": near, "without": other} {
		token := issue(t, other, raw(`{}`))
		ended := make(chan error, 1)
		go func() { ended <- cache.Ended(t.Context(), token.Handle()) }()
		if _, _, err := other.Renew(t.Context(), token); err != nil {
			t.Fatal(err)
		}
		select {
		case err := <-ended:
			t.Errorf("%s: Ended = %v after a renewal", name, err)
		default:
		}
		if _, err := other.DeleteSession(t.Context(), token.Handle()); err != nil {
			t.Fatal(err)
		}
		if err := <-ended; err != nil {
			t.Errorf("%s: Ended = %v", name, err)
		}
		if err := cache.Ended(t.Context(), token.Handle()); err != nil {
			t.Errorf("%s: Ended of an absent session = %v", name, err)
		}

		expiring := issue(t, other, raw(`{}`), sessioncache.Lifetime(300*time.Millisecond))
		if err := cache.Ended(t.Context(), expiring.Handle()); err != nil {
			t.Errorf("%s: Ended of one that expires = %v", name, err)
		}
		lives := issue(t, other, raw(`{}`))
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		wantError(t, name+": Ended", cache.Ended(ctx, lives.Handle()), sessioncache.ErrUnavailable)
		cancel()
	}
}

func BenchmarkNearCacheGet(b *testing.B) {
	near, ids, _ := benchmarkNear(b)
	b.ReportAllocs()
	ctx := b.Context()
	for i := 0; b.Loop(); i++ {
		if _, ok, err := near.Get(ctx, ids[i%len(ids)]); !ok || err != nil {
			b.Fatal(ok, err)
		}
	}
}

func BenchmarkNearCacheAuthenticate(b *testing.B) {
	near, _, tokens := benchmarkNear(b)
	b.ReportAllocs()
	ctx := b.Context()
	for i := 0; b.Loop(); i++ {
		if _, ok, err := near.Authenticate(ctx, tokens[i%len(tokens)]); !ok || err != nil {
			b.Fatal(ok, err)
		}
	}
}

func BenchmarkNearCacheGetParallel(b *testing.B) {
	near, ids, _ := benchmarkNear(b)
	b.ReportAllocs()
	ctx := b.Context()
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		for i := 0; pb.Next(); i++ {
			if _, ok, err := near.Get(ctx, ids[i%len(ids)]); !ok || err != nil {
				b.Fatal(ok, err)
			}
		}
	})
}

// benchmarkNear returns a near cache that holds 10,000 sessions of each kind.
func benchmarkNear(b *testing.B) (near *sessioncache.Cache[raw], ids []string, tokens []sid.Token) {
	b.Helper()
	pool := sessiontest.NewPool(b)
	near = sessioncache.New[raw](pool, sessioncache.WithNearCache(50_000))
	const sessions = 10_000
	ids, tokens = make([]string, sessions), make([]sid.Token, sessions)
	var all sync.WaitGroup
	for worker := range 64 {
		all.Go(func() {
			for i := worker; i < sessions; i += 64 {
				var err error
				ids[i] = newID()
				if err = near.Set(b.Context(), ids[i], raw(`{"user_id":"u"}`)); err != nil {
					b.Error(err)
				}
				if tokens[i], err = near.Issue(b.Context(), raw(`{"user_id":"u"}`)); err != nil {
					b.Error(err)
				}
			}
		})
	}
	all.Wait()
	for hits := uint64(0); hits < 2*sessions; {
		before := near.Metrics().NearCache.Hits
		for worker := range 64 {
			all.Go(func() {
				for i := worker; i < sessions; i += 64 {
					_, _, _ = near.Get(b.Context(), ids[i])
					_, _, _ = near.Authenticate(b.Context(), tokens[i])
				}
			})
		}
		all.Wait()
		hits = near.Metrics().NearCache.Hits - before
	}
	return near, ids, tokens
}
