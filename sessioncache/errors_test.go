package sessioncache_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/rhaptos/sessiondb/internal/suite"
	"github.com/rhaptos/sessiondb/sessioncache"
	"github.com/rhaptos/sessiondb/sessioncache/sessiontest"
	"github.com/rhaptos/sessiondb/sid"
)

// TestKindsAreComplete: wantError counts on it.
func TestKindsAreComplete(t *testing.T) {
	t.Parallel()
	source, err := os.ReadFile("errors.go")
	if err != nil {
		t.Fatal(err)
	}
	// ErrUserTooLarge is no kind of its own: it is an ErrInvalidUser.
	if declared := regexp.MustCompile(`(?m)^var Err`).FindAll(source, -1); len(declared) != len(sessioncache.Kinds)+1 {
		t.Errorf("errors.go declares %d errors, and Kinds has %d; want one less", len(declared), len(sessioncache.Kinds))
	}
}

func TestMalformedIDs(t *testing.T) {
	cache, pool := setup[raw](t)
	pool.Close() // no such id reaches the database
	const id = "0a1b2c3d-4e5f-6789-abcd-ef0123456789"
	for name, bad := range map[string]string{
		"empty":         "",
		"a name":        "Dr. Evil",
		"braces":        "{" + id + "}",
		"urn":           "urn:uuid:" + id,
		"32 digits":     strings.ReplaceAll(id, "-", ""),
		"not hex":       "gggggggg-4e5f-6789-abcd-ef0123456789",
		"NUL":           id[:35] + "\x00",
		"invalid UTF-8": id[:35] + "\xff",
		"a token":       sid.NewToken().Reveal(),
		"a megabyte":    strings.Repeat("0", 1<<20),
	} {
		for call, do := range idCalls(cache) {
			err := do(t.Context(), bad)
			wantError(t, call+" with an id that is "+name, err, sessioncache.ErrMalformedID)
			if len(err.Error()) > 200 || (bad != "" && strings.Contains(err.Error(), bad)) {
				t.Errorf("%s: the error repeats the id", name)
			}
		}
	}
}

func TestZeroToken(t *testing.T) {
	cache, pool := setup[raw](t)
	pool.Close() // it does not reach the database
	for call, do := range tokenCalls(cache) {
		wantError(t, call+" with the zero token", do(t.Context(), sid.Token{}), sessioncache.ErrMalformedID)
	}
}

// TestUnavailable makes the database fail in every way that needs no server of
// its own, and expects every call to say so.
func TestUnavailable(t *testing.T) {
	t.Parallel()
	background := context.Background()
	cancelled, cancel := context.WithCancel(background)
	cancel()
	expired, cancel := context.WithDeadline(background, time.Unix(0, 0))
	defer cancel()

	for name, failure := range map[string]struct {
		ctx    context.Context
		damage func(t *testing.T, pool *pgxpool.Pool)
		pool   func(*pgxpool.Config)
		cause  error
	}{
		"cancelled context": {ctx: cancelled, cause: context.Canceled},
		"expired context":   {ctx: expired, cause: context.DeadlineExceeded},
		"closed pool":       {damage: func(_ *testing.T, pool *pgxpool.Pool) { pool.Close() }},
		"refused login": {pool: func(c *pgxpool.Config) {
			c.ConnConfig.User, c.ConnConfig.Password = "sessiontest_nobody", "wrong"
		}},
		"no server": {pool: func(c *pgxpool.Config) {
			c.ConnConfig.DialFunc = func(context.Context, string, string) (net.Conn, error) {
				return nil, syscall.ECONNREFUSED
			}
		}, cause: syscall.ECONNREFUSED},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			pool := sessiontest.NewPool(t, func(c *pgxpool.Config) {
				if failure.pool != nil {
					failure.pool(c)
				}
			})
			if failure.damage != nil {
				failure.damage(t, pool)
			}
			ctx := background
			if failure.ctx != nil {
				ctx = failure.ctx
			}
			id, token := newID(), sid.NewToken()
			for call, do := range calls(sessioncache.New[raw](pool), id, token) {
				err := do(ctx)
				wantError(t, call, err, sessioncache.ErrUnavailable)
				if failure.cause != nil && !errors.Is(err, failure.cause) {
					t.Errorf("%s: %v; want its cause, %v", call, err, failure.cause)
				}
				wantNoneIn(t, err, id, token)
			}
		})
	}
}

// wantNoneIn expects an error to show nothing that opens a session.
func wantNoneIn(t *testing.T, err error, id string, token sid.Token) {
	t.Helper()
	if text := fmt.Sprintf("%v %+v", err, err); strings.Contains(text, id) || strings.Contains(text, token.Reveal()) {
		t.Errorf("the error shows the id or the token: %s", text)
	}
}

// TestUnmigrated expects the errors to say what to do.
func TestUnmigrated(t *testing.T) {
	suite.Require(t, suite.OwnTable)
	cache, pool := setup[raw](t)
	unmigrated := func(call string, err error) {
		t.Helper()
		wantError(t, call+" without the table", err, sessioncache.ErrUnavailable)
		if err != nil && !strings.Contains(err.Error(), "run the migrations: sessionctl migrate up") {
			t.Errorf("%s: %v; want it to say what to run", call, err)
		}
	}
	change := func(sql string) {
		t.Helper()
		if _, err := pool.Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
	}

	change(`ALTER TABLE session_cache DROP COLUMN user_id`)
	for call, do := range userCalls(cache) {
		unmigrated(call, do(t.Context(), "u"))
	}
	change(`DROP TABLE session_cache`)
	id, token := newID(), sid.NewToken()
	for call, do := range calls(cache, id, token) {
		err := do(t.Context())
		unmigrated(call, err)
		wantNoneIn(t, err, id, token)
	}
}

// TestServerGoesAway cuts the connections in the middle of work: no call takes
// that for an absent session, and all is well again when the server is back.
func TestServerGoesAway(t *testing.T) {
	t.Parallel()
	var network network
	pool := sessiontest.NewPool(t, network.configure)
	cache := sessioncache.New[raw](pool)
	id := set(t, cache, raw(`{"a":1}`))

	down := make(chan struct{})
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for failed := false; !failed; {
				user, ok, err := cache.Get(t.Context(), id)
				switch {
				case err != nil:
					wantError(t, "Get", err, sessioncache.ErrUnavailable)
					select {
					case <-down:
						failed = true
					default:
					}
				case !ok || string(user) != `{"a":1}`:
					t.Errorf("Get = %s, %v, nil; want the session or an error", user, ok)
					return
				}
			}
		})
	}
	network.cut(true)
	close(down)
	all.Wait()
	for call, do := range calls(cache, newID(), sid.NewToken()) {
		wantError(t, call, do(t.Context()), sessioncache.ErrUnavailable)
	}
	network.cut(false)
	wantUser(t, cache, id, `{"a":1}`)
}

// TestServerStops stops a real server under a cache.
func TestServerStops(t *testing.T) {
	t.Setenv("SESSIONCACHE_DATABASE_URL", "") // one that this test may stop
	t.Setenv("SESSIONCACHE_TEST_AFTER_MIGRATE", "")
	server, err := sessiontest.Start(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	database, err := server.NewDatabase(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	pool, err := pgxpool.New(t.Context(), database.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer pool.Close()
	cache := sessioncache.New[raw](pool)
	id := set(t, cache, raw(`{}`))
	if err := server.Close(); err != nil {
		t.Fatal(err)
	}
	for call, do := range calls(cache, id, sid.NewToken()) {
		wantError(t, call, do(t.Context()), sessioncache.ErrUnavailable)
	}
}

// TestStatementThatWasNotSentIsSentAgain has every connection of the pool dead
// before each call, so that the first write fails.
func TestStatementThatWasNotSentIsSentAgain(t *testing.T) {
	t.Parallel()
	var network network
	pool := sessiontest.NewPool(t, network.configure, func(c *pgxpool.Config) {
		// The pool must not notice first that its connections are dead.
		c.ShouldPing = func(context.Context, pgxpool.ShouldPingParams) bool { return false }
	})
	cache := sessioncache.New[raw](pool)
	id, token := set(t, cache, raw(`{"a":1}`)), issue(t, cache, raw(`{"a":1}`))
	for range 20 {
		network.cut(false)
		wantUser(t, cache, id, `{"a":1}`)
		network.cut(false)
		wantOpens(t, cache, token, `{"a":1}`)
		network.cut(false)
		token = renew(t, cache, token)
		network.cut(false)
		issue(t, cache, userOf(newID()), sessioncache.MaxSessions(1))
		network.cut(false)
		set(t, cache, raw(`{}`))
		network.cut(false)
		if ok, err := cache.Update(t.Context(), id, func(*raw) error { return nil }); err != nil || !ok {
			t.Errorf("Update = %v, %v", ok, err)
		}
	}
}
