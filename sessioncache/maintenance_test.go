package sessioncache_test

import (
	"testing"
	"time"

	"github.com/rhaptos/sessiondb/internal/suite"
	"github.com/rhaptos/sessiondb/sessioncache"
)

func TestStats(t *testing.T) {
	suite.Require(t, suite.OwnTable)
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
	if stats, err = cache.Stats(t.Context()); err != nil || stats.LargestUser != 3 || stats.Live != 12 {
		t.Errorf("Stats = %+v, %v; want 12 live, 3 of one user", stats, err)
	}
}

func TestReindex(t *testing.T) {
	suite.Require(t, suite.OwnTable)
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

func TestDeleteAll(t *testing.T) {
	suite.Require(t, suite.OwnTable)
	cache, pool := setup[raw](t)
	insertMany(t, pool, 3, time.Hour)
	insertMany(t, pool, 2, -time.Hour)
	other := sessioncache.New[raw](pool, sessioncache.WithAudience("other"))
	token := issue(t, other, userOf("u"))
	if n, err := cache.DeleteAudience(t.Context()); err != nil || n != 5 {
		t.Errorf("DeleteAll = %d, %v; want 5", n, err)
	}
	if stats, err := cache.Stats(t.Context()); err != nil || stats != (sessioncache.Stats{Live: 1, LargestUser: 1}) {
		t.Errorf("Stats = %+v, %v; want one session, of another audience", stats, err)
	}
	wantOpens(t, other, token, string(userOf("u")))
	if n, err := other.DeleteAudience(t.Context()); err != nil || n != 1 {
		t.Errorf("DeleteAll of the other audience = %d, %v; want 1", n, err)
	}
	if stats, err := cache.Stats(t.Context()); err != nil || stats != (sessioncache.Stats{}) {
		t.Errorf("Stats = %+v, %v; want zeros", stats, err)
	}
}
