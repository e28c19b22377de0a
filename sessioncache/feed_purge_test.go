package sessioncache_test

import (
	"context"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/rhaptos/sessiondb/db"
	"github.com/rhaptos/sessiondb/internal/suite"
	"github.com/rhaptos/sessiondb/sessioncache"
	"github.com/rhaptos/sessiondb/sessioncache/internal/changefeed"
	"github.com/rhaptos/sessiondb/sid"
)

// addChanges writes n changes into the feed that are below the horizon, five of a
// transaction.
func addChanges(t *testing.T, pool *pgxpool.Pool, n int) {
	t.Helper()
	execute(t, pool, "UPDATE session_change_state SET horizon = candidate")
	tag, err := pool.Exec(t.Context(), `
		INSERT INTO session_change SELECT (3 + n / 5)::text::xid8, gen_random_uuid() FROM generate_series(0, $1::int - 1) AS n`, n)
	if err != nil || tag.RowsAffected() != int64(n) {
		t.Fatal(tag, err)
	}
}

func wantChanges(t *testing.T, cache *sessioncache.Cache[raw], want int64) {
	t.Helper()
	if stats, ok, err := cache.FeedStats(t.Context()); err != nil || !ok || stats.Changes != want {
		t.Errorf("FeedStats = %+v, %v, %v; want %d changes", stats, ok, err, want)
	}
}

// purgeLater purges when eleven minutes have passed for the feed.
func purgeLater(t *testing.T, cache *sessioncache.Cache[raw], pool *pgxpool.Pool, options ...sessioncache.PurgeOption) {
	t.Helper()
	execute(t, pool, "UPDATE session_change_state SET candidateutc = candidateutc - interval '11 minutes'")
	if n, err := cache.Purge(t.Context(), options...); err != nil || n != 0 {
		t.Errorf("Purge = %d, %v; want 0 sessions", n, err)
	}
}

func pollChanges(t *testing.T, feed *changefeed.Feed) changefeed.Poll {
	t.Helper()
	poll, err := feed.Poll(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return poll
}

// TestPurgeOfTheFeed: of two that poll, the one that stops meanwhile is told that changes
// are missing, and the other is told every change.
func TestPurgeOfTheFeed(t *testing.T) {
	suite.Require(t, suite.OwnTable, suite.Undistributed)
	cache, pool := setup[raw](t)
	stopped, polling := changefeed.New(db.New(pool)), changefeed.New(db.New(pool))
	stopped.Applied(pollChanges(t, stopped))
	polling.Applied(pollChanges(t, polling))
	var ended sid.IDs
	for range 3 {
		id := set(t, cache, raw(`{}`))
		if err := cache.Delete(t.Context(), id); err != nil {
			t.Fatal(err)
		}
		parsed, err := sid.Parse(id)
		if err != nil {
			t.Fatal(err)
		}
		ended = append(ended, parsed)
	}
	if n, err := cache.Purge(t.Context()); err != nil || n != 0 {
		t.Errorf("Purge = %d, %v", n, err)
	}
	wantChanges(t, cache, 3)
	poll := pollChanges(t, polling)
	if poll.Reset || len(poll.Changed) != len(ended) {
		t.Errorf("who polls is told %+v; want %v", poll, ended)
	}
	polling.Applied(poll)

	var reports []sessioncache.Progress
	report := sessioncache.WithProgress(func(p sessioncache.Progress) { reports = append(reports, p) })
	// The tests beside this one have transactions under way, which hold the horizon up.
	suite.Eventually(t, "the changes are purged", func() bool {
		purgeLater(t, cache, pool, report)
		polling.Applied(pollChanges(t, polling))
		stats, _, err := cache.FeedStats(t.Context())
		return err == nil && stats.Changes == 0 && stats.Age < time.Minute
	})
	for _, progress := range reports {
		if progress.Rows != 0 || progress.Batches != 1 {
			t.Errorf("a report of the sessions says %+v", progress)
		}
	}
	if poll := pollChanges(t, stopped); !poll.Reset {
		t.Errorf("changes were purged that it has not seen, and it is told %+v", poll)
	}
	id := set(t, cache, raw(`{}`))
	if err := cache.Delete(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	if poll := pollChanges(t, polling); poll.Reset || len(poll.Changed) != 1 || poll.Changed[0].String() != id {
		t.Errorf("who polls is told %+v; want %s", poll, id)
	}
}

func TestPurgeOfTheFeedBudget(t *testing.T) {
	suite.Require(t, suite.OwnTable, suite.Undistributed)
	cache, pool := setup[raw](t)
	addChanges(t, pool, 3500)
	insertMany(t, pool, 3000, -time.Hour)
	if n, err := cache.Purge(t.Context(), sessioncache.WithBudget(time.Nanosecond)); err != nil || n != 1000 {
		t.Errorf("Purge with no time = %d, %v; want one batch of sessions", n, err)
	}
	wantChanges(t, cache, 2500)
	if n, err := cache.Purge(t.Context(), sessioncache.WithBudget(time.Hour)); err != nil || n != 2000 {
		t.Errorf("Purge of the rest = %d, %v; want 2000 sessions", n, err)
	}
	wantChanges(t, cache, 0)
}

// TestPurgeOfTheFeedEndsWithItsBudget has a transaction hold changes that are to be
// purged.
func TestPurgeOfTheFeedEndsWithItsBudget(t *testing.T) {
	suite.Require(t, suite.OwnTable, suite.Undistributed)
	cache, pool := setup[raw](t)
	addChanges(t, pool, 10)
	tx, err := pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = tx.Rollback(context.WithoutCancel(t.Context())) }()
	if _, err := tx.Exec(t.Context(), "SELECT FROM session_change FOR UPDATE"); err != nil {
		t.Fatal(err)
	}
	insertMany(t, pool, 10, -time.Hour)
	if n, err := cache.Purge(t.Context(), sessioncache.WithBudget(time.Millisecond)); err != nil || n != 10 {
		t.Errorf("Purge = %d, %v; want 10 sessions", n, err)
	}
	wantChanges(t, cache, 10)
}

func TestPurgersOfTheFeedRace(t *testing.T) {
	suite.Require(t, suite.OwnTable, suite.Undistributed)
	cache, pool := setup[raw](t)
	for range 5 {
		addChanges(t, pool, 3000)
		var all sync.WaitGroup
		for range 4 {
			all.Go(func() {
				if _, err := cache.Purge(t.Context()); err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
	}
	if _, err := cache.Purge(t.Context()); err != nil {
		t.Error(err)
	}
	wantChanges(t, cache, 0)
}

// TestPurgeOfTheFeedInTransaction: it happens with the transaction, or not at all.
func TestPurgeOfTheFeedInTransaction(t *testing.T) {
	suite.Require(t, suite.OwnTable, suite.Undistributed)
	cache, pool := setup[raw](t)
	addChanges(t, pool, 1500)
	execute(t, pool, "UPDATE session_change_state SET candidateutc = candidateutc - interval '11 minutes'")
	horizon := func() (horizon string) {
		t.Helper()
		if err := pool.QueryRow(t.Context(), "SELECT horizon::text || candidateutc FROM session_change_state").Scan(&horizon); err != nil {
			t.Fatal(err)
		}
		return horizon
	}
	before := horizon()
	tx, err := pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := cache.WithTx(tx).Purge(t.Context()); err != nil {
		t.Fatal(err)
	}
	wantChanges(t, cache.WithTx(tx), 0)
	wantChanges(t, cache, 1500)
	if got := horizon(); got != before {
		t.Errorf("the horizon is %s before the commit; want %s", got, before)
	}
	if err := tx.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	wantChanges(t, cache, 0)
	if horizon() == before {
		t.Error("the horizon has not moved")
	}
}

// TestPurgeWithoutAFeed purges the sessions, also in a transaction, which goes on.
func TestPurgeWithoutAFeed(t *testing.T) {
	suite.Require(t, suite.OwnTable, suite.Undistributed)
	var log suite.Log
	cache, pool := setup[raw](t, sessioncache.WithLogger(log.Logger(slog.LevelInfo)))
	if _, err := pool.Exec(t.Context(), "ALTER TABLE session_change_state RENAME TO gone"); err != nil {
		t.Fatal(err)
	}
	insertMany(t, pool, 5, -time.Hour)
	if n, err := cache.Purge(t.Context()); err != nil || n != 5 {
		t.Errorf("Purge = %d, %v; want 5", n, err)
	}
	if stats, ok, err := cache.FeedStats(t.Context()); ok || err != nil {
		t.Errorf("FeedStats = %+v, %v, %v; want none", stats, ok, err)
	}
	insertMany(t, pool, 5, -time.Hour)
	err := cache.Tx(t.Context(), func(_ pgx.Tx, cache *sessioncache.Cache[raw]) error {
		if stats, ok, err := cache.FeedStats(t.Context()); ok || err != nil {
			t.Errorf("FeedStats = %+v, %v, %v; want none", stats, ok, err)
		}
		if n, err := cache.Purge(t.Context()); err != nil || n != 5 {
			t.Errorf("Purge in a transaction = %d, %v; want 5", n, err)
		}
		return second(cache.Stats(t.Context()))
	})
	if err != nil {
		t.Error(err)
	}

	// A savepoint cannot be had in a transaction that pgx does not know of.
	insertMany(t, pool, 5, -time.Hour)
	conn, err := pool.Acquire(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Release()
	for _, step := range []func() error{
		func() error { return second(conn.Exec(t.Context(), "BEGIN")) },
		func() error { return second(sessioncache.New[raw](conn.Conn()).Purge(t.Context())) },
		func() error { return second(conn.Exec(t.Context(), "SELECT FROM session_cache")) },
		func() error { return second(conn.Exec(t.Context(), "COMMIT")) },
	} {
		if err := step(); err != nil {
			t.Error(err)
		}
	}
	wantStats(t, cache, 0, 0)
	if log.String() != "" {
		t.Errorf("the log says: %s", &log)
	}
}

// TestPurgeWithoutRightsOnTheFeed has a janitor purge as a role that may purge the
// sessions and no more, and then gets the rights.
func TestPurgeWithoutRightsOnTheFeed(t *testing.T) {
	suite.Require(t, suite.OwnDatabase, suite.Undistributed)
	var log suite.Log
	owner, pool := setup[raw](t)
	role := suite.NewRole(t, pool)
	grant := func(rights string) {
		t.Helper()
		if _, err := pool.Exec(t.Context(), "GRANT "+rights+" TO "+role); err != nil {
			t.Fatalf("%s: %v", rights, err)
		}
	}
	grant("SELECT, UPDATE, DELETE ON session_cache")
	config := pool.Config()
	config.ConnConfig.RuntimeParams["role"] = role
	restricted, err := pgxpool.NewWithConfig(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(restricted.Close)

	addChanges(t, pool, 10)
	cache := sessioncache.New[raw](restricted, sessioncache.WithLogger(log.Logger(slog.LevelInfo)))
	ctx, cancel := context.WithCancel(t.Context())
	var janitor sync.WaitGroup
	janitor.Go(func() { cache.RunJanitor(ctx, 20*time.Millisecond) })
	defer janitor.Wait()
	defer cancel()
	for range 2 {
		insertMany(t, pool, 10, -time.Hour)
		suite.Eventually(t, "the sessions are purged", func() bool {
			stats, err := owner.Stats(t.Context())
			return err == nil && stats.Expired == 0
		})
	}
	suite.Eventually(t, "it says what is missing", func() bool { return strings.Contains(log.String(), "change feed not purged") })
	wantChanges(t, owner, 10)
	grant("SELECT, DELETE ON session_change")
	grant("SELECT, UPDATE ON session_change_state")
	suite.Eventually(t, "the changes are purged", func() bool {
		stats, _, err := owner.FeedStats(t.Context())
		return err == nil && stats.Changes == 0
	})
	if got := log.String(); strings.Count(got, "\n") != 1 || !strings.Contains(got, "level=WARN") {
		t.Errorf("the log says: %s", got)
	}
}
