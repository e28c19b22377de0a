package sessioncache_test

import (
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/rhaptos/sessiondb/sessioncache"
	"github.com/rhaptos/sessiondb/sessioncache/sessiontest"
)

// insertMany stores n sessions that started long ago and end after the given
// time from now.
func insertMany(t *testing.T, pool *pgxpool.Pool, n int, end time.Duration) {
	t.Helper()
	_, err := pool.Exec(t.Context(), `
		INSERT INTO session_cache (sessionid, userdict, session_startutc, session_endutc, session_deadlineutc)
		SELECT gen_random_uuid(), '{}', now() - interval '30 days', now() + $2::interval, now() + $2::interval
		FROM generate_series(1, $1)`, n, end)
	if err != nil {
		t.Fatal(err)
	}
}

func TestPurgeWholeTable(t *testing.T) {
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

func TestPurgeRacingPurgeWholeTable(t *testing.T) {
	cache, pool := setup[raw](t)
	insertMany(t, pool, 10_000, -time.Hour)
	var total int64
	var mu sync.Mutex
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			n, err := cache.Purge(t.Context())
			if err != nil {
				t.Error(err)
			}
			mu.Lock()
			defer mu.Unlock()
			total += n
		})
	}
	all.Wait()
	if total != 10_000 {
		t.Errorf("four who purged counted %d rows; want each of the 10,000 once", total)
	}
}

// TestPurgePassesOverLockedRowsWholeTableUndistributed needs row locks: where they
// are refused, a purge waits.
func TestPurgePassesOverLockedRowsWholeTableUndistributed(t *testing.T) {
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

func TestStatsWholeTable(t *testing.T) {
	cache, pool := setup[raw](t)
	insertMany(t, pool, 7, time.Hour)
	insertMany(t, pool, 3, -time.Hour)
	insertMany(t, pool, 1, -25*time.Hour)
	stats, err := cache.Stats(t.Context())
	if err != nil || stats.Live != 7 || stats.Expired != 4 || stats.OldestExpired.Round(time.Minute) != 25*time.Hour {
		t.Errorf("Stats = %+v, %v; want 7 live, 4 expired, the oldest for 25h", stats, err)
	}
	for _, user := range []string{"a", "b", "b"} {
		set(t, cache, userOf(user))
	}
	issue(t, cache, userOf("b"))
	issue(t, sessioncache.New[raw](pool, sessioncache.WithAudience("other")), userOf("b")) // who is another b
	if stats, err = cache.Stats(t.Context()); err != nil || stats.MostOfOneUser != 3 || stats.Live != 12 {
		t.Errorf("Stats = %+v, %v; want 12 live, 3 of one user", stats, err)
	}
}

func TestReindexWholeTable(t *testing.T) {
	cache, pool := setup[raw](t)
	id := set(t, cache, raw(`{"still":"here"}`))
	if err := cache.Reindex(t.Context()); err != nil {
		t.Fatal(err)
	}
	wantUser(t, cache, id, `{"still":"here"}`)
	tx, err := pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = tx.Rollback(t.Context()) }()
	wantError(t, "Reindex in a transaction", cache.WithTx(tx).Reindex(t.Context()), sessioncache.ErrUnavailable)
}

func TestDeleteAllWholeTable(t *testing.T) {
	cache, pool := setup[raw](t)
	insertMany(t, pool, 3, time.Hour)
	insertMany(t, pool, 2, -time.Hour)
	other := sessioncache.New[raw](pool, sessioncache.WithAudience("other"))
	token := issue(t, other, userOf("u"))
	if n, err := cache.DeleteAll(t.Context()); err != nil || n != 5 {
		t.Errorf("DeleteAll = %d, %v; want 5", n, err)
	}
	if stats, err := cache.Stats(t.Context()); err != nil || stats != (sessioncache.Stats{Live: 1, MostOfOneUser: 1}) {
		t.Errorf("Stats = %+v, %v; want one session, of another audience", stats, err)
	}
	wantOpens(t, other, token, string(userOf("u")))
	if n, err := other.DeleteAll(t.Context()); err != nil || n != 1 {
		t.Errorf("DeleteAll of the other audience = %d, %v; want 1", n, err)
	}
	if stats, err := cache.Stats(t.Context()); err != nil || stats != (sessioncache.Stats{}) {
		t.Errorf("Stats = %+v, %v; want zeros", stats, err)
	}
}
