package sessioncache_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/rhaptos/sessiondb/internal/suite"
	"github.com/rhaptos/sessiondb/sessioncache"
	"github.com/rhaptos/sessiondb/sessioncache/internal/nearcache"
	"github.com/rhaptos/sessiondb/sessioncache/sessiontest"
)

// The tests here put a change and a near cache into one order that is known to be
// dangerous, on a real database. Each does so for several sessions, because a poll that
// happens to come in between hides a mistake.

const orderAttempts = 4

// warm has a near cache keep a session, and answer it from memory.
func warm(t *testing.T, near *sessioncache.Cache[raw], id string) {
	t.Helper()
	suite.Eventually(t, "memory answers", func() bool {
		before := near.Metrics().NearCache.Hits
		if _, ok, err := near.Get(t.Context(), id); !ok || err != nil {
			t.Fatalf("Get = %v, %v", ok, err)
		}
		return near.Metrics().NearCache.Hits > before
	})
}

// keepWarm looks a session up until the returned function is called, so that the last
// poll is always recent.
func keepWarm(t *testing.T, near *sessioncache.Cache[raw], id string) (stop func()) {
	t.Helper()
	var ended atomic.Bool
	var reader sync.WaitGroup
	reader.Go(func() {
		for !ended.Load() {
			if _, _, err := near.Get(t.Context(), id); err != nil {
				t.Error(err)
				return
			}
			time.Sleep(time.Millisecond) // not to keep the processors from the others
		}
	})
	return func() { ended.Store(true); reader.Wait() }
}

// lock locks a session's row until the returned function is called.
func lock(t *testing.T, pool *pgxpool.Pool, id string) (unlock func()) {
	t.Helper()
	tx, err := pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = tx.Rollback(context.Background()) })
	execute(t, tx, "SELECT FROM session_cache WHERE sessionid = $1 FOR UPDATE", id)
	return func() {
		if err := tx.Rollback(t.Context()); err != nil {
			t.Error(err)
		}
	}
}

// waitUntilDeleted waits until a plain session is not in the table any more.
func waitUntilDeleted(t *testing.T, pool *pgxpool.Pool, id string) {
	t.Helper()
	suite.Eventually(t, "the session is deleted", func() bool {
		var left int
		if err := pool.QueryRow(t.Context(), "SELECT count(*) FROM session_cache WHERE sessionid = $1", id).Scan(&left); err != nil {
			t.Fatal(err)
		}
		return left == 0
	})
}

// waitsForLock waits until some statement waits for a lock.
func waitsForLock(t *testing.T, pool *pgxpool.Pool) {
	t.Helper()
	suite.Eventually(t, "a statement waits for a lock", func() bool {
		var waiting bool
		err := pool.QueryRow(t.Context(), `
			SELECT EXISTS (SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock')`).Scan(&waiting)
		if err != nil {
			t.Fatal(err)
		}
		return waiting
	})
}

// TestChangeThatWaitedForALock: the time that counts begins with its commit.
func TestChangeThatWaitedForALock(t *testing.T) {
	near, other, pool := setupNear[raw](t)
	for range orderAttempts {
		id := set(t, other, raw(`{}`))
		warm(t, near, id)
		unlock := lock(t, pool, id)
		deleted := make(chan error, 1)
		go func() { deleted <- other.Delete(t.Context(), id) }()
		waitsForLock(t, pool)
		stop := keepWarm(t, near, id)
		time.Sleep(2 * sessioncache.NearCacheStaleness) // longer than a change waits
		unlock()
		if err := <-deleted; err != nil {
			t.Fatal(err)
		}
		wantNone(t, near, id)
		stop()
	}
}

// TestDeleteThatFindsNothing returns while the Delete that found something still waits.
func TestDeleteThatFindsNothing(t *testing.T) {
	near, other, pool := setupNear[raw](t)
	for range orderAttempts {
		id := set(t, other, raw(`{}`))
		warm(t, near, id)
		first := make(chan error, 1)
		go func() { first <- other.Delete(t.Context(), id) }()
		waitUntilDeleted(t, pool, id)
		if err := sessioncache.New[raw](pool).Delete(t.Context(), id); err != nil {
			t.Fatal(err)
		}
		wantNone(t, near, id)
		if err := <-first; err != nil {
			t.Fatal(err)
		}
	}
}

// TestFlagReadLongAgo: a server learns that no near cache is in use; then one is.
func TestFlagReadLongAgo(t *testing.T) {
	suite.Require(t, suite.OwnTable, suite.Undistributed)
	t.Parallel()
	for name, test := range map[string]func(t *testing.T, pool *pgxpool.Pool, other *sessioncache.Cache[raw], id string){
		"before the change": func(t *testing.T, pool *pgxpool.Pool, other *sessioncache.Cache[raw], id string) {
			near := sessioncache.New[raw](pool, sessioncache.WithNearCache(10))
			warm(t, near, id)
			if err := other.Delete(t.Context(), id); err != nil {
				t.Fatal(err)
			}
			wantNone(t, near, id)
		},
		"before the change, which waits for a lock": func(t *testing.T, pool *pgxpool.Pool, other *sessioncache.Cache[raw], id string) {
			unlock := lock(t, pool, id)
			deleted := make(chan error, 1)
			go func() { deleted <- other.Delete(t.Context(), id) }()
			waitsForLock(t, pool)
			near := sessioncache.New[raw](pool, sessioncache.WithNearCache(10))
			warm(t, near, id)
			stop := keepWarm(t, near, id)
			unlock()
			if err := <-deleted; err != nil {
				t.Fatal(err)
			}
			wantNone(t, near, id)
			stop()
		},
	} {
		for range orderAttempts {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				pool := sessiontest.NewPool(t) // where no near cache has ever been in use
				other := sessioncache.New[raw](pool)
				id := set(t, other, raw(`{}`))
				if err := other.AwaitNearCaches(t.Context()); err != nil {
					t.Fatal(err)
				}
				test(t, pool, other, id)
			})
		}
	}
}

// TestTurnedOffAndOn: a change that knows of the time in between returns at once.
func TestTurnedOffAndOn(t *testing.T) {
	near, _, pool := setupNear[raw](t)
	for range orderAttempts {
		other := sessioncache.New[raw](pool) // which has not asked yet
		id := set(t, other, raw(`{}`))
		warm(t, near, id)
		suite.Eventually(t, "polling ends", func() bool { // so that this near cache sees nothing of what follows
			before := near.Metrics().NearCache.Polls
			time.Sleep(2 * sessioncache.NearCacheStaleness)
			return near.Metrics().NearCache.Polls == before
		})
		begun := func() uint64 { return near.Metrics().NearCache.Restarts + near.Metrics().NearCache.Resets }
		before := begun()
		execute(t, pool, "UPDATE session_change_state SET near_caches = 'off'")
		if err := other.AwaitNearCaches(t.Context()); err != nil {
			t.Fatal(err)
		}
		execute(t, pool, "UPDATE session_change_state SET near_caches = 'used', generation = gen_random_uuid()")
		suite.Eventually(t, "the near cache has begun anew", func() bool {
			if _, _, err := near.Get(t.Context(), id); err != nil {
				t.Fatal(err)
			}
			return begun() > before
		})
		for range 3 {
			if _, _, err := near.Get(t.Context(), id); err != nil {
				t.Fatal(err)
			}
		}
		if err := other.Delete(t.Context(), id); err != nil {
			t.Fatal(err)
		}
		wantNone(t, near, id)
	}
}

// answerGate is a tracer that holds back the answer of one statement, when armed.
type answerGate struct {
	query    string // the start of its name in queries/
	armed    atomic.Bool
	answered chan struct{}
	open     chan struct{}
}

func newAnswerGate(query string) *answerGate {
	return &answerGate{query: query, answered: make(chan struct{}), open: make(chan struct{})}
}

type heldKey struct{}

func (g *answerGate) TraceQueryStart(ctx context.Context, _ *pgx.Conn, data pgx.TraceQueryStartData) context.Context {
	return context.WithValue(ctx, heldKey{}, strings.HasPrefix(data.SQL, "-- name: "+g.query))
}

func (g *answerGate) TraceQueryEnd(ctx context.Context, _ *pgx.Conn, _ pgx.TraceQueryEndData) {
	if held, _ := ctx.Value(heldKey{}).(bool); held && g.armed.CompareAndSwap(true, false) {
		close(g.answered)
		<-g.open
	}
}

// TestFlagBeingRead: a server has asked whether near caches are in use, and is told that
// none is, when one is by then. A change that is over later asks anew.
func TestFlagBeingRead(t *testing.T) {
	suite.Require(t, suite.OwnTable, suite.Undistributed)
	t.Parallel()
	for range orderAttempts {
		t.Run("", func(t *testing.T) {
			t.Parallel()
			g := newAnswerGate("GetNearCacheUse")
			pool := sessiontest.NewPool(t, func(config *pgxpool.Config) { config.ConnConfig.Tracer = g })
			other := sessioncache.New[raw](pool)
			id := set(t, other, raw(`{}`))
			g.armed.Store(true)
			first := make(chan error, 1)
			go func() { first <- other.AwaitNearCaches(t.Context()) }()
			<-g.answered
			near := sessioncache.New[raw](pool, sessioncache.WithNearCache(10))
			warm(t, near, id)
			stop := keepWarm(t, near, id)
			deleted := make(chan error, 1)
			go func() { deleted <- other.Delete(t.Context(), id) }()
			waitUntilDeleted(t, pool, id)
			close(g.open)
			if err := <-deleted; err != nil {
				t.Fatal(err)
			}
			wantNone(t, near, id)
			stop()
			if err := <-first; err != nil {
				t.Fatal(err)
			}
		})
	}
}

// TestLookupUnderWay: a session ends after a lookup has been answered and before the
// answer has come. Nobody who asks later gets it, from the lookup or from memory.
func TestLookupUnderWay(t *testing.T) {
	suite.Require(t, suite.OwnTable, suite.Undistributed)
	t.Parallel()
	g := newAnswerGate("GetSession")
	pool := sessiontest.NewPool(t, func(config *pgxpool.Config) { config.ConnConfig.Tracer = g })
	other := sessioncache.New[raw](pool)
	near := sessioncache.New[raw](pool, sessioncache.WithNearCache(10))
	warm(t, near, set(t, other, raw(`{}`)))
	id := set(t, other, raw(`{}`))
	g.armed.Store(true)
	first := make(chan error, 1)
	go func() {
		_, ok, err := near.Get(t.Context(), id)
		if err == nil && !ok {
			err = errors.New("no session, although it had been found")
		}
		first <- err
	}()
	<-g.answered
	if err := other.Delete(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	second := make(chan bool, 1)
	go func() {
		_, ok, err := near.Get(t.Context(), id)
		second <- ok || err != nil
	}()
	select {
	case found := <-second:
		if found {
			t.Error("found after its end")
		}
	case <-time.After(5 * time.Second): // it waits for the first lookup
		t.Error("a Get waits for a lookup that was sent before it")
	}
	close(g.open)
	if err := <-first; err != nil {
		t.Error(err)
	}
	for range 3 {
		wantNone(t, near, id)
	}
}

// TestStalenessCoversClockRates: a change waits by a clock that may be fast, and a hit
// counts by one that may be slow, each by a twelfth.
func TestStalenessCoversClockRates(t *testing.T) {
	t.Parallel()
	const fast, slow = 1083, 917 // of 1000
	if longest, shortest := nearcache.Fresh*1000/slow, sessioncache.NearCacheStaleness*1000/fast; longest >= shortest {
		t.Errorf("a hit may count for %v, and a change wait for %v", longest, shortest)
	}
}
