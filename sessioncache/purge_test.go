package sessioncache_test

import (
	"context"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/rhaptos/sessiondb/internal/suite"
	"github.com/rhaptos/sessiondb/sessioncache"
	"github.com/rhaptos/sessiondb/sessioncache/sessiontest"
)

func TestPurge(t *testing.T) {
	suite.Require(t, suite.OwnTable)
	cache, pool := setup[raw](t)
	insertMany(t, pool, 4500, -time.Hour)
	insertMany(t, pool, 10, time.Hour)
	n, err := cache.Purge(t.Context())
	if err != nil || n != 4500 {
		t.Errorf("Purge = %d, %v; want 4500", n, err)
	}
	n, err = cache.Purge(t.Context())
	if err != nil || n != 0 {
		t.Errorf("second Purge = %d, %v; want 0", n, err)
	}
	stats, err := cache.Stats(t.Context())
	if err != nil || stats != (sessioncache.Stats{Live: 10}) {
		t.Errorf("Stats = %+v, %v; want 10 live", stats, err)
	}
}

func TestPurgeProgress(t *testing.T) {
	suite.Require(t, suite.OwnTable)
	cache, pool := setup[raw](t)
	live := set(t, cache, raw(`{}`))
	insertMany(t, pool, 2500, 0)
	var reports []sessioncache.Progress
	n, err := cache.Purge(t.Context(), sessioncache.WithProgress(func(p sessioncache.Progress) { reports = append(reports, p) }))
	if err != nil || n != 2500 || len(reports) != 3 {
		t.Fatalf("Purge = %d, %v, with %d reports; want 2500 and 3", n, err, len(reports))
	}
	for i, want := range []struct {
		rows   int64
		oldest time.Duration
	}{{1000, 1500 * time.Second}, {2000, 500 * time.Second}, {2500, 0}} {
		got := reports[i]
		if got.Rows != want.rows || got.Batches != i+1 || got.OldestExpired < want.oldest || got.OldestExpired > want.oldest+time.Minute {
			t.Errorf("report %d is %+v; want %+v: the oldest go first", i, got, want)
		}
	}
	wantUser(t, cache, live, `{}`)
	wantStats(t, cache, 1, 0)
}

func TestPurgeBudget(t *testing.T) {
	suite.Require(t, suite.OwnTable)
	cache, pool := setup[raw](t)
	insertMany(t, pool, 3000, 0)
	n, err := cache.Purge(t.Context(), sessioncache.WithBudget(time.Nanosecond))
	if err != nil || n != 1000 {
		t.Errorf("Purge with no time = %d, %v; want one batch", n, err)
	}
	n, err = cache.Purge(t.Context(), sessioncache.WithBudget(time.Hour))
	if err != nil || n != 2000 {
		t.Errorf("Purge of the rest = %d, %v; want 2000", n, err)
	}
}

// TestPurgeStopsBetweenBatches ends the context in the middle: what is done stays
// done, and is told.
func TestPurgeStopsBetweenBatches(t *testing.T) {
	suite.Require(t, suite.OwnTable)
	cache, pool := setup[raw](t)
	insertMany(t, pool, 3000, 0)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	n, err := cache.Purge(ctx, sessioncache.WithProgress(func(sessioncache.Progress) { cancel() }))
	wantError(t, "Purge", err, sessioncache.ErrUnavailable)
	if n != 1000 {
		t.Errorf("Purge = %d; want 1000", n)
	}
	wantStats(t, cache, 0, 2000)
}

// noRowLocks is a pool on a server that refuses to lock rows in a query, as Citus
// does across shards. All other statements reach the real one.
type noRowLocks struct {
	*pgxpool.Pool
	refused atomic.Int64
}

func (d *noRowLocks) Exec(ctx context.Context, sql string, arguments ...any) (pgconn.CommandTag, error) {
	if strings.Contains(sql, "SKIP LOCKED") {
		d.refused.Add(1)
		return pgconn.CommandTag{}, &pgconn.PgError{Severity: "ERROR", Code: "0A000", Message: "could not run distributed query with FOR UPDATE/SHARE commands"}
	}
	return d.Pool.Exec(ctx, sql, arguments...)
}

func TestPurgeWithoutRowLocks(t *testing.T) {
	suite.Require(t, suite.OwnTable)
	_, pool := setup[raw](t)
	db := &noRowLocks{Pool: pool}
	cache := sessioncache.NewUnchecked[raw](db)
	live := set(t, cache, raw(`{}`))
	insertMany(t, pool, 2500, 0)
	if n, err := cache.Purge(t.Context()); err != nil || n != 2500 {
		t.Errorf("Purge = %d, %v; want 2500", n, err)
	}
	if n := db.refused.Load(); n != 1 {
		t.Errorf("row locks were tried %d times; want once", n)
	}
	wantUser(t, cache, live, `{}`)
	wantStats(t, cache, 1, 0)

	// Several at once get in each other's way, and all come to an end.
	insertMany(t, pool, 5000, 0)
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			if _, err := sessioncache.NewUnchecked[raw](db).Purge(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if _, err := cache.Purge(t.Context()); err != nil {
		t.Error(err)
	}
	wantStats(t, cache, 1, 0)
}

// refusedTx is a transaction on such a server.
type refusedTx struct{ pgx.Tx }

func (refusedTx) Exec(context.Context, string, ...any) (pgconn.CommandTag, error) {
	return pgconn.CommandTag{}, &pgconn.PgError{Code: "0A000"}
}

// TestPurgeInTransactionWithoutRowLocks: the refusal has ended the transaction, so
// there is nothing to fall back to.
func TestPurgeInTransactionWithoutRowLocks(t *testing.T) {
	cache, pool := setup[raw](t)
	tx, err := pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = tx.Rollback(context.WithoutCancel(t.Context())) }()
	_, err = cache.WithTx(refusedTx{tx}).Purge(t.Context())
	wantError(t, "Purge", err, sessioncache.ErrUnavailable)
}

// TestPurgersRace has ten purge at once, while sessions come and expire: none fails, and
// no row counts twice.
func TestPurgersRace(t *testing.T) {
	suite.Require(t, suite.OwnTable)
	cache, pool := setup[raw](t)
	const purgers, rounds, each = 10, 20, 500
	var purged atomic.Int64
	var live []string
	var mu sync.Mutex
	var adding, purging sync.WaitGroup
	adding.Go(func() {
		for range rounds {
			insertMany(t, pool, each, 0)
			id := set(t, cache, raw(`{}`))
			mu.Lock()
			live = append(live, id)
			mu.Unlock()
		}
	})
	done := make(chan struct{})
	for range purgers {
		purging.Go(func() {
			for {
				n, err := cache.Purge(t.Context())
				if err != nil {
					t.Error(err)
				}
				purged.Add(n)
				select {
				case <-done:
					return
				default:
				}
			}
		})
	}
	adding.Wait()
	close(done)
	purging.Wait()
	n, err := cache.Purge(t.Context())
	if purged.Add(n); err != nil || purged.Load() != rounds*each {
		t.Errorf("%d rows were purged, %v; want %d", purged.Load(), err, rounds*each)
	}
	for _, id := range live {
		wantUser(t, cache, id, `{}`)
	}
}

// TestPurgePassesOverLockedRows needs row locks: where they are refused, a purge waits.
func TestPurgePassesOverLockedRows(t *testing.T) {
	suite.Require(t, suite.OwnTable, suite.Undistributed)
	cache, pool := setup[raw](t)
	id := set(t, cache, raw(`{}`))
	sessiontest.Elapse(t, pool, named(id), 2*time.Hour)
	insertMany(t, pool, 5, -time.Hour)
	tx, err := pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = tx.Rollback(t.Context()) }()
	if _, err := tx.Exec(t.Context(), `SELECT FROM session_cache WHERE sessionid = $1 FOR UPDATE`, id); err != nil {
		t.Fatal(err)
	}
	if n, err := cache.Purge(t.Context()); err != nil || n != 5 {
		t.Errorf("Purge beside a locked row = %d, %v; want 5, without waiting", n, err)
	}
}

// TestPurgeEndsWithItsBudget has a purge meet a lock on the table.
func TestPurgeEndsWithItsBudget(t *testing.T) {
	cache, pool := setup[raw](t)
	sessiontest.Elapse(t, pool, named(set(t, cache, raw(`{}`))), 2*time.Hour)
	err := pgx.BeginFunc(t.Context(), pool, func(tx pgx.Tx) error {
		if _, err := tx.Exec(t.Context(), "LOCK TABLE session_cache IN ACCESS EXCLUSIVE MODE"); err != nil {
			return err
		}
		start := time.Now()
		n, err := cache.Purge(t.Context(), sessioncache.WithBudget(100*time.Millisecond))
		if took := time.Since(start); n != 0 || err != nil || took > 30*time.Second {
			t.Errorf("Purge = %d, %v after %s; want it to give up", n, err, took)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
	wantGivenBack(t, pool)
}
