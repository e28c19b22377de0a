package sessioncache_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
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

// wantHit expects that memory answers, the first time or, on a busy machine, a later time.
func wantHit[T any](t *testing.T, near *sessioncache.Cache[T], call func()) {
	t.Helper()
	suite.Eventually(t, "memory answers", func() bool {
		before := near.Metrics()
		call()
		after := near.Metrics()
		if after.Hits != before.Hits+1 {
			t.Errorf("%d lookups have hit; then %d", before.Hits, after.Hits)
		}
		return after.NearCache.Hits > before.NearCache.Hits || t.Failed()
	})
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
		"Retire, which does not wait": {func(id string, token sid.Token) error {
			return errors.Join(second(other.Retire(ctx, token)), other.Delete(ctx, id))
		}, ""},
		"Tx of another Cache": {func(id string, token sid.Token) error {
			return sessioncache.New[int](pool).Tx(ctx, func(tx pgx.Tx, _ *sessioncache.Cache[int]) error {
				return pgx.BeginFunc(ctx, tx, func(tx pgx.Tx) error {
					return errors.Join(other.WithTx(tx).Delete(ctx, id), other.WithTx(tx).Revoke(ctx, token))
				})
			})
		}, ""},
		"RevokeAll": {func(string, sid.Token) error {
			mine := issue(t, other, raw(before))
			_, ok, err := other.RevokeAll(ctx, mine)
			return notOK(!ok, err)
		}, ""},
		"RevokeOthers": {func(string, sid.Token) error {
			mine := issue(t, other, raw(before))
			_, ok, err := other.RevokeOthers(ctx, mine)
			return notOK(!ok, err)
		}, ""},
		"DeleteAudience": {func(string, sid.Token) error { return second(other.DeleteAudience(ctx)) }, ""},
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
				cache := sessioncache.New[raw](pool, sessioncache.WithAudience(near.Audience()), sessioncache.WithNearCache(0))
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
	if m := near.Metrics().NearCache; m.Hits < rounds*sessions {
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
		"DeleteAudience":     func() error { return second(cache.DeleteAudience(ctx)) },
		"RevokeOthers":       func() error { _, _, err := cache.RevokeOthers(ctx, sid.NewToken()); return err },
		"RevokeAll":          func() error { _, _, err := cache.RevokeAll(ctx, sid.NewToken()); return err },
		"RevokeSession": func() error {
			_, _, err := cache.RevokeSession(ctx, sid.NewToken(), sid.NewToken().Handle())
			return err
		},
		"Set twice": func() error {
			id := newID()
			if err := cache.Set(ctx, id, raw(`{}`)); err != nil {
				return err
			}
			if err := cache.Set(ctx, id, raw(`{}`)); !errors.Is(err, sessioncache.ErrConflict) {
				return fmt.Errorf("Set = %w", err)
			}
			return nil
		},
		"Tx": func() error {
			return cache.Tx(ctx, func(_ pgx.Tx, cache *sessioncache.Cache[raw]) error { return cache.Delete(ctx, newID()) })
		},
	}
}

// timeOf is how long a call takes.
func timeOf(t *testing.T, name string, do func() error) time.Duration {
	t.Helper()
	start := time.Now()
	if err := do(); err != nil {
		t.Errorf("%s: %v", name, err)
	}
	return time.Since(start)
}

// quickest is the quickest of a few calls: the machine may be busy.
func quickest(t *testing.T, name string, do func() error) time.Duration {
	t.Helper()
	var took []time.Duration
	for range 5 {
		took = append(took, timeOf(t, name, do))
		if took[len(took)-1] < sessioncache.NearCacheStaleness {
			break
		}
	}
	return slices.Min(took)
}

// TestEveryChangeWaits: whatever a change has found, somebody else's may have committed a
// moment ago. Without the option, nobody waits.
func TestEveryChangeWaits(t *testing.T) {
	suite.Require(t, suite.Undistributed) // where a statement takes less than the wait
	_, waiting, pool := setupNear[raw](t)
	ctx := t.Context()
	without := sessioncache.New[raw](pool, sessioncache.WithAudience(waiting.Audience()))
	for name, do := range changesOf(ctx, without) {
		if took := quickest(t, name, do); took >= sessioncache.NearCacheStaleness {
			t.Errorf("%s took %s without the option", name, took)
		}
	}
	for name, do := range changesOf(ctx, waiting) {
		if took := timeOf(t, name, do); took < sessioncache.NearCacheStaleness {
			t.Errorf("%s took %s", name, took)
		}
	}
	if took := timeOf(t, "AwaitNearCaches", func() error { return without.AwaitNearCaches(ctx) }); took < sessioncache.NearCacheStaleness {
		t.Errorf("AwaitNearCaches took %s", took)
	}

	nothing := func(*raw) error { return nil }
	id, token, errRefused := set(t, waiting, userOf("u")), issue(t, waiting, userOf("u")), errors.New("refused")
	for name, do := range map[string]func() error{
		"Get":                func() error { _, _, err := waiting.Get(ctx, id); return err },
		"Authenticate":       func() error { _, _, err := waiting.Authenticate(ctx, token); return err },
		"Set":                func() error { return waiting.Set(ctx, newID(), raw(`{}`)) },
		"Issue":              func() error { return second(waiting.Issue(ctx, userOf("v"))) },
		"Issue with a limit": func() error { return second(waiting.Issue(ctx, userOf("v"), sessioncache.MaxSessions(2))) },
		"Retire":             func() error { return second(waiting.Retire(ctx, sid.NewToken())) },
		"Issue, replacing": func() error {
			return second(waiting.Issue(ctx, userOf("v"), sessioncache.Replacing(issue(t, waiting, userOf("v")))))
		},
		"Update unawaited": func() error { return second(waiting.Update(ctx, id, nothing, sessioncache.Unawaited())) },
		"UpdateSession unawaited": func() error {
			return second(waiting.UpdateSession(ctx, token, nothing, sessioncache.Unawaited()))
		},
		"Update to another user": func() error {
			_, err := waiting.Update(ctx, id, func(user *raw) error { *user = userOf("w"); return nil })
			wantErrorIs(t, "Update", err, sessioncache.ErrUserChanged)
			return nil
		},
		"Update whose change fails": func() error {
			_, err := waiting.Update(ctx, id, func(*raw) error { return errRefused })
			wantErrorIs(t, "Update", err, errRefused)
			return nil
		},
		"Delete of no id": func() error {
			wantErrorIs(t, "Delete", waiting.Delete(ctx, "x"), sessioncache.ErrMalformedID)
			return nil
		},
		"Tx that only reads": func() error {
			return waiting.Tx(ctx, func(_ pgx.Tx, cache *sessioncache.Cache[raw]) error {
				_, _, err := cache.Session(ctx, token.Handle())
				return err
			})
		},
		"Tx that issues": func() error {
			return waiting.Tx(ctx, func(_ pgx.Tx, cache *sessioncache.Cache[raw]) error {
				return errors.Join(second(cache.Issue(ctx, userOf("v"))), second(cache.Update(ctx, id, nothing, sessioncache.Unawaited())))
			})
		},
		"WithTx": func() error {
			return pgx.BeginFunc(ctx, pool, func(tx pgx.Tx) error { return waiting.WithTx(tx).Delete(ctx, newID()) })
		},
	} {
		if took := quickest(t, name, do); took >= sessioncache.NearCacheStaleness {
			t.Errorf("%s took %s; want not to wait", name, took)
		}
	}
}

// TestNearCacheSeesOwnChangesAtOnce, also those that do not wait.
func TestNearCacheSeesOwnChangesAtOnce(t *testing.T) {
	near, _, pool := setupNear[raw](t)
	ctx := t.Context()
	change := func(user *raw) error { *user = raw(`{"user_id":"u","n":1}`); return nil }
	for name, do := range map[string]func(id string, token sid.Token) error{
		"Update unawaited": func(id string, token sid.Token) error {
			return errors.Join(second(near.Update(ctx, id, change, sessioncache.Unawaited())),
				second(near.UpdateSession(ctx, token, change, sessioncache.Unawaited())))
		},
		"Tx that updates unawaited": func(id string, token sid.Token) error {
			return near.Tx(ctx, func(_ pgx.Tx, cache *sessioncache.Cache[raw]) error {
				return errors.Join(second(cache.Update(ctx, id, change, sessioncache.Unawaited())),
					second(cache.UpdateSession(ctx, token, change, sessioncache.Unawaited())))
			})
		},
	} {
		id, token := set(t, near, userOf("u")), issue(t, near, userOf("u"))
		wantHit(t, near, func() { wantUser(t, near, id, string(userOf("u"))) })
		wantHit(t, near, func() { wantOpens(t, near, token, string(userOf("u"))) })
		if err := do(id, token); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		wantUser(t, near, id, `{"user_id":"u","n":1}`)
		wantOpens(t, near, token, `{"user_id":"u","n":1}`)
	}

	retired, limited := issue(t, near, userOf("v")), issue(t, near, userOf("w"))
	wantHit(t, near, func() { wantOpens(t, near, retired, string(userOf("v"))) })
	wantHit(t, near, func() { wantOpens(t, near, limited, string(userOf("w"))) })
	if _, err := near.Retire(ctx, retired); err != nil {
		t.Error(err)
	}
	_, _, err := near.Authenticate(ctx, retired)
	wantError(t, "after Retire, Authenticate", err, sessioncache.ErrSuperseded)
	issue(t, near, userOf("w"), sessioncache.MaxSessions(1))
	wantOpensNone(t, near, limited)

	// A superseded token ends its session without a wait.
	stolen := issue(t, near, userOf("x"))
	renewed := renew(t, near, stolen)
	sessiontest.Elapse(t, pool, stolen.Handle(), time.Minute)
	wantHit(t, near, func() { wantOpens(t, near, renewed, string(userOf("x"))) })
	wantOpensNone(t, near, stolen)
	wantOpensNone(t, near, renewed)
}

// answerGate is a tracer that holds the answer of the next statement of one name back.
type answerGate struct {
	query             string
	holds             atomic.Bool
	answered, release chan struct{}
}

func (g *answerGate) TraceQueryStart(ctx context.Context, _ *pgx.Conn, data pgx.TraceQueryStartData) context.Context {
	return context.WithValue(ctx, g, strings.Contains(data.SQL, "-- name: "+g.query+" "))
}

func (g *answerGate) TraceQueryEnd(ctx context.Context, _ *pgx.Conn, _ pgx.TraceQueryEndData) {
	if ctx.Value(g) == true && g.holds.CompareAndSwap(true, false) {
		close(g.answered)
		<-g.release
	}
}

// TestLookupUnderWay: a lookup that begins after a change does not join one that was sent
// before it, and what that one brings is not kept, though its answer comes after the change.
func TestLookupUnderWay(t *testing.T) {
	t.Parallel()
	before, after := string(userOf("u")), `{"user_id":"u","n":1}`
	for name, whileItWaits := range map[string]bool{"it comes first": false, "a later lookup comes first": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := &answerGate{query: "GetSession", answered: make(chan struct{}), release: make(chan struct{})}
			pool := sessiontest.NewPool(t, func(c *pgxpool.Config) { c.ConnConfig.Tracer = g })
			near := sessioncache.New[raw](pool, sessioncache.WithNearCache(10))
			id := set(t, near, raw(before))
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second) // for what would join
			defer cancel()
			g.holds.Store(true)
			var early sync.WaitGroup
			early.Go(func() { wantUser(t, near, id, before) })
			<-g.answered
			change := func(user *raw) error { *user = raw(after); return nil }
			if _, err := near.Update(ctx, id, change, sessioncache.Unawaited()); err != nil {
				t.Error(err)
			}
			if whileItWaits {
				if user, ok, err := near.Get(ctx, id); err != nil || !ok || string(user) != after {
					t.Errorf("beside a lookup under way: Get = %s, %v, %v; want %s", user, ok, err, after)
				}
			}
			close(g.release)
			early.Wait()
			wantUser(t, near, id, after)
		})
	}
}

// TestChangeWhoseContextEndsWhileItWaits has happened, and says so.
func TestChangeWhoseContextEndsWhileItWaits(t *testing.T) {
	_, other, _ := setupNear[raw](t)
	id := set(t, other, raw(`{}`))
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
	type user struct{ Roles []string }
	clone := func(u user) user { return user{slices.Clone(u.Roles)} }
	near, other, _ := setupNear[user](t, sessioncache.WithClone(clone))
	id := set(t, other, user{[]string{"reader"}})
	for range 3 {
		wantHit(t, near, func() {
			got, ok, err := near.Get(t.Context(), id)
			if err != nil || !ok || got.Roles[0] != "reader" {
				t.Fatalf("Get = %v, %v, %v", got, ok, err)
			}
			got.Roles[0] = "admin"
		})
	}
}

func TestNearCacheOptions(t *testing.T) {
	t.Parallel()
	pool := sessiontest.NewPool(t)
	suite.WantPanic(t, func() { sessioncache.WithNearCache(-1) })
	suite.WantPanic(t, func() { sessioncache.New[raw](pool, sessioncache.WithoutBatching(), sessioncache.WithNearCache(1)) })
	suite.WantPanic(t, func() { sessioncache.WithClone[raw](nil) })
	suite.WantPanic(t, func() {
		sessioncache.New[raw](pool, sessioncache.WithClone(func(u string) string { return u }))
	})
}

// wrapped is a type around a pool, as services write them for tracing or tenants.
type wrapped struct{ *pgxpool.Pool }

// TestWhatNewTakes: in a type of the caller's own nobody can see whether a statement runs in a
// transaction. An acquired connection waits and extends as a pool does.
func TestWhatNewTakes(t *testing.T) {
	t.Parallel()
	ctx, pool := t.Context(), sessiontest.NewPool(t)
	suite.WantPanic(t, func() { sessioncache.New[raw](wrapped{pool}) })
	suite.WantPanic(t, func() { sessioncache.New[raw](&wrapped{pool}) })
	suite.WantPanic(t, func() { sessioncache.New[raw](nil) })

	conn, err := pool.Acquire(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Release()
	for name, database := range map[string]sessioncache.DB{"acquired": conn, "connection": conn.Conn()} {
		cache := sessioncache.New[raw](database, sessioncache.WithNearCache(5), sessioncache.WithIdleTimeout(idleTimeout))
		id := set(t, cache, userOf("u"))
		sessiontest.Elapse(t, pool, named(id), idleTimeout/2)
		wantUser(t, cache, id, string(userOf("u")))
		if left := ttl(t, pool, id); left <= idleTimeout/2 {
			t.Errorf("%s: a use has not extended the session: %s are left", name, left)
		}
		if took := quickest(t, name, func() error { return cache.Delete(ctx, id) }); took < sessioncache.NearCacheStaleness {
			t.Errorf("%s: Delete took %s", name, took)
		}
		inTx := func() error {
			return pgx.BeginFunc(ctx, conn, func(pgx.Tx) error { return cache.Delete(ctx, id) })
		}
		if took := quickest(t, name, inTx); took >= sessioncache.NearCacheStaleness {
			t.Errorf("%s: Delete in a caller's transaction took %s", name, took)
		}
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

// benchmarkNear returns a near cache and 100 hot sessions of each kind.
func benchmarkNear(b *testing.B) (near *sessioncache.Cache[raw], ids []string, tokens []sid.Token) {
	b.Helper()
	pool := sessiontest.NewPool(b)
	near = sessioncache.New[raw](pool, sessioncache.WithNearCache(5_000))
	const sessions = 100
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
	return near, ids, tokens
}

// TestLoginKeepsOtherSessions: a login, and a call that ends nothing, makes memory forget
// no other session.
func TestLoginKeepsOtherSessions(t *testing.T) {
	near, _, _ := setupNear[raw](t)
	ctx := t.Context()
	other := issue(t, near, userOf(newID()))
	for name, do := range map[string]func() error{
		"Issue with a limit": func() error { return second(near.Issue(ctx, userOf(newID()), sessioncache.MaxSessions(2))) },
		"RevokeOthers":       func() error { _, _, err := near.RevokeOthers(ctx, sid.NewToken()); return err },
		"DeleteUserSessions": func() error { return second(near.DeleteUserSessions(ctx, newID())) },
	} {
		suite.Eventually(t, "memory answers after "+name, func() bool {
			before := near.Metrics().NearCache.Hits
			for range 2 {
				if _, ok, err := near.Authenticate(ctx, other); err != nil || !ok {
					t.Fatalf("Authenticate = %v, %v", ok, err)
				}
			}
			if near.Metrics().NearCache.Hits == before {
				return false // the machine was busy for 200 ms
			}
			done := make(chan error, 1)
			go func() { done <- do() }() // two of them wait for near caches
			for range 50 {
				before = near.Metrics().NearCache.Hits
				if _, _, err := near.Authenticate(ctx, other); err != nil {
					t.Fatal(err)
				}
				if near.Metrics().NearCache.Hits == before {
					if err := <-done; err != nil {
						t.Errorf("%s: %v", name, err)
					}
					return false
				}
			}
			if err := <-done; err != nil {
				t.Errorf("%s: %v", name, err)
			}
			return true
		})
	}
}
