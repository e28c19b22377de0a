package sessiontest_test

import (
	"os"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/rhaptos/sessiondb/internal/suite"
	"github.com/rhaptos/sessiondb/sessioncache"
	"github.com/rhaptos/sessiondb/sessioncache/sessiontest"
	"github.com/rhaptos/sessiondb/sid"
)

// TestAfterMigrate is not parallel: it sets the environment.
func TestAfterMigrate(t *testing.T) {
	if os.Getenv("SESSIONCACHE_DATABASE_URL") != "" {
		t.Setenv("SESSIONCACHE_DATABASE_URL", "") // that server's table is what it is
	}
	t.Setenv("SESSIONCACHE_TEST_AFTER_MIGRATE", "COMMENT ON TABLE session_cache IS 'made for tests'")
	err := sessiontest.Use(t.Context(), func(_ *sessiontest.Server, database *sessiontest.Database) error {
		conn, err := pgx.Connect(t.Context(), database.URL)
		if err != nil {
			return err
		}
		defer conn.Close(t.Context())
		var comment string
		err = conn.QueryRow(t.Context(), "SELECT obj_description('session_cache'::regclass)").Scan(&comment)
		if comment != "made for tests" {
			t.Errorf("the table's comment is %q", comment)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

// TestPoolsAreApart: unless the server has one table for all, and says so.
func TestPoolsAreApart(t *testing.T) {
	t.Parallel()
	shared := sessiontest.NewDatabase(t).Shared
	a, b := sessiontest.NewPool(t), sessiontest.NewPool(t)
	id := sid.New().String()
	if err := sessioncache.New[sessiontest.User](a).Set(t.Context(), id, sessiontest.User{}); err != nil {
		t.Fatal(err)
	}
	_, ok, err := sessioncache.New[sessiontest.User](b).Get(t.Context(), id)
	if err != nil || ok != shared {
		t.Errorf("the session of one pool is visible from another: %v, %v; want %v", ok, err, shared)
	}
}

func TestDatabaseIsGoneWithItsTest(t *testing.T) {
	t.Parallel()
	var url string
	var shared bool
	t.Run("test", func(t *testing.T) {
		database := sessiontest.NewDatabase(t)
		url, shared = database.URL, database.Shared
	})
	conn, err := pgx.Connect(t.Context(), url)
	if err == nil {
		defer conn.Close(t.Context())
		_, err = conn.Exec(t.Context(), "SELECT FROM session_cache")
	}
	if (err == nil) != shared {
		t.Errorf("after the test its table answers with %v", err)
	}
}

func TestFakeUsersFixed(t *testing.T) {
	suite.Require(t, suite.OwnTable)
	t.Parallel()
	cache := sessioncache.New[sessiontest.User](sessiontest.NewPool(t))
	stray := sid.New().String()
	if err := cache.Set(t.Context(), stray, sessiontest.User{}); err != nil {
		t.Fatal(err)
	}
	for range 2 { // again and again: each time the table is cleared
		ids, err := sessiontest.FakeUsers(t.Context(), cache, "fixed")
		if err != nil || len(ids) != 3 {
			t.Fatalf("FakeUsers = %v, %v", ids, err)
		}
		for i, want := range []struct{ id, userID, name string }{
			{"00000000-0000-0000-0000-000000000000", "cnxuser:75e06194-baee-4395-8e1a-566b656f6920", "Paul Brian"},
			{"00000000-0000-0000-0000-000000000001", "cnxuser:75e06194-baee-4395-8e1a-566b656f6921", "Ross Reedstrom"},
			{"00000000-0000-0000-0000-000000000002", "cnxuser:75e06194-baee-4395-8e1a-566b656f6922", "Ed Woodward"},
		} {
			user, ok, err := cache.Get(t.Context(), want.id)
			if err != nil || !ok || ids[i] != want.id || *user.UserID != want.userID || *user.FullName != want.name ||
				user.Identifiers[0].UserID != want.userID || user.Email != nil {
				t.Errorf("fake user %d is %+v under %s, %v, %v; want %v", i, user, ids[i], ok, err, want)
			}
		}
	}
	if _, ok, err := cache.Get(t.Context(), stray); ok || err != nil {
		t.Errorf("a session from before: %v, %v; want none", ok, err)
	}
}

func TestFakeUsersFloating(t *testing.T) {
	t.Parallel()
	cache := sessioncache.New[sessiontest.User](sessiontest.NewPool(t))
	seen := map[string]bool{}
	for range 3 {
		ids, err := sessiontest.FakeUsers(t.Context(), cache, "floating")
		if err != nil || len(ids) != 1 || seen[ids[0]] {
			t.Fatalf("FakeUsers = %v, %v; want one new id", ids, err)
		}
		seen[ids[0]] = true
		user, ok, err := cache.Get(t.Context(), ids[0])
		if err != nil || !ok || *user.FullName != "Ed Woodward" {
			t.Errorf("Get = %+v, %v, %v; want edwoodward", user, ok, err)
		}
	}
}

func TestFakeUsersOfNoKind(t *testing.T) {
	t.Parallel()
	cache := sessioncache.New[sessiontest.User](sessiontest.NewPool(t))
	for _, kind := range []string{"", "Fixed", "flaoting"} {
		if ids, err := sessiontest.FakeUsers(t.Context(), cache, kind); err == nil {
			t.Errorf("FakeUsers of kind %q = %v; want an error", kind, ids)
		}
	}
}
