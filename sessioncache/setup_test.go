package sessioncache_test

import (
	"context"
	"encoding/json"
	"errors"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/rhaptos/sessiondb/sessioncache"
	"github.com/rhaptos/sessiondb/sessioncache/sessiontest"
	"github.com/rhaptos/sessiondb/sessioncache/sid"
)

// raw is the T of tests that look at the JSON itself.
type raw = json.RawMessage

func setup[T any](t *testing.T, options ...sessioncache.Option) (*sessioncache.Cache[T], *pgxpool.Pool) {
	t.Helper()
	t.Parallel()
	pool := sessiontest.NewPool(t)
	return sessioncache.New[T](pool, options...), pool
}

func newID() string {
	return sid.New().String()
}

// set stores a user under an id of its own.
func set[T any](t *testing.T, cache *sessioncache.Cache[T], user T) (id string) {
	t.Helper()
	id = newID()
	if err := cache.Set(t.Context(), id, user); err != nil {
		t.Fatalf("Set: %v", err)
	}
	return id
}

func wantUser(t *testing.T, cache *sessioncache.Cache[raw], id, want string) {
	t.Helper()
	user, ok, err := cache.Get(t.Context(), id)
	if err != nil || !ok || string(user) != want {
		t.Errorf("Get = %s, %v, %v; want %s", user, ok, err, want)
	}
}

func wantNone[T any](t *testing.T, cache *sessioncache.Cache[T], id string) {
	t.Helper()
	user, ok, err := cache.Get(t.Context(), id)
	if err != nil || ok {
		t.Errorf("Get = %v, %v, %v; want no session", user, ok, err)
	}
}

func wantError(t *testing.T, what string, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("%s: %v; want the error %q", what, err, want)
	}
	kinds := 0
	for _, kind := range []error{sessioncache.ErrMalformedID, sessioncache.ErrConflict, sessioncache.ErrInvalidUser, sessioncache.ErrUnavailable} {
		if errors.Is(err, kind) {
			kinds++
		}
	}
	if kinds != 1 {
		t.Errorf("%s: %v is %d kinds of error; want exactly one", what, err, kinds)
	}
}

// shift moves both times of a session. Tests do not wait for time to pass: they
// move the session instead.
func shift(t *testing.T, db sessioncache.DB, id string, by time.Duration) {
	t.Helper()
	execute(t, db, `
		UPDATE session_cache
		SET session_startutc = (session_startutc AT TIME ZONE 'UTC' + $1::interval) AT TIME ZONE 'UTC',
		    session_endutc = (session_endutc AT TIME ZONE 'UTC' + $1::interval) AT TIME ZONE 'UTC'
		WHERE sessionid = $2`, by, id)
}

// execute runs a statement that must change one row.
func execute(t *testing.T, db sessioncache.DB, sql string, arguments ...any) {
	t.Helper()
	tag, err := db.Exec(context.Background(), sql, arguments...)
	if err != nil || tag.RowsAffected() != 1 {
		t.Fatalf("%s: %d rows, %v; want 1", sql, tag.RowsAffected(), err)
	}
}

// eventually waits for what nobody announces.
func eventually(t *testing.T, what string, happens func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !happens(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("a minute, and not yet: %s", what)
		}
	}
}

// wantGivenBack waits until the pool has all of its connections. One on which a
// statement was cancelled is closed in the background.
func wantGivenBack(t *testing.T, pool *pgxpool.Pool) {
	t.Helper()
	eventually(t, "every connection is given back", func() bool { return pool.Stat().AcquiredConns() == 0 })
}
