package sessioncache_test

import (
	"context"
	"errors"
	"maps"
	"net"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/rhaptos/sessiondb/sessioncache"
	"github.com/rhaptos/sessiondb/sessioncache/sessiontest"
)

// calls are all the calls that take one id, and what else the database is needed
// for.
func calls(cache *sessioncache.Cache[raw]) map[string]func(ctx context.Context, id string) error {
	return map[string]func(ctx context.Context, id string) error{
		"Set": func(ctx context.Context, id string) error { return cache.Set(ctx, id, raw(`{}`)) },
		"Get": func(ctx context.Context, id string) error {
			_, ok, err := cache.Get(ctx, id)
			return notOK(ok, err)
		},
		"GetAll": func(ctx context.Context, id string) error {
			_, err := cache.GetAll(ctx, newID(), id)
			return err
		},
		"Session": func(ctx context.Context, id string) error {
			_, ok, err := cache.Session(ctx, id)
			return notOK(ok, err)
		},
		"Delete": cache.Delete,
		"Update": func(ctx context.Context, id string) error {
			ok, err := cache.Update(ctx, id, func(*raw) error { return nil })
			return notOK(ok, err)
		},
		"Rotate from": func(ctx context.Context, id string) error {
			ok, err := cache.Rotate(ctx, id, newID())
			return notOK(ok, err)
		},
		"Rotate to": func(ctx context.Context, id string) error {
			ok, err := cache.Rotate(ctx, newID(), id)
			return notOK(ok, err)
		},
		"DeleteUser": func(ctx context.Context, id string) error {
			_, err := cache.DeleteUser(ctx, "u", newID(), id)
			return err
		},
	}
}

func notOK(ok bool, err error) error {
	if ok && err != nil {
		return errors.New("ok with an error")
	}
	return err
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
		"a megabyte":    strings.Repeat("0", 1<<20),
	} {
		for call, do := range calls(cache) {
			err := do(t.Context(), bad)
			wantError(t, call+" with an id that is "+name, err, sessioncache.ErrMalformedID)
			if len(err.Error()) > 200 || (bad != "" && strings.Contains(err.Error(), bad)) {
				t.Errorf("%s: the error repeats the id", name)
			}
		}
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
		hint   string
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
			cache := sessioncache.New[raw](pool)
			all := calls(cache)
			maps.Copy(all, tableCalls(cache))
			for call, do := range all {
				id := newID()
				err := do(ctx, id)
				wantError(t, call, err, sessioncache.ErrUnavailable)
				if failure.cause != nil && !errors.Is(err, failure.cause) {
					t.Errorf("%s: %v; want its cause, %v", call, err, failure.cause)
				}
				if err != nil && strings.Contains(err.Error(), id) {
					t.Errorf("%s: the error shows the id: %v", call, err)
				}
			}
		})
	}
}

// tableCalls are the calls that need no id.
func tableCalls(cache *sessioncache.Cache[raw]) map[string]func(ctx context.Context, _ string) error {
	return map[string]func(context.Context, string) error{
		"UserSessions": func(ctx context.Context, _ string) error { return second(cache.UserSessions(ctx, "u")) },
		"Purge":        func(ctx context.Context, _ string) error { return second(cache.Purge(ctx)) },
		"Stats":        func(ctx context.Context, _ string) error { return second(cache.Stats(ctx)) },
		"Reindex":      func(ctx context.Context, _ string) error { return cache.Reindex(ctx) },
		"DeleteAll":    func(ctx context.Context, _ string) error { return second(cache.DeleteAll(ctx)) },
	}
}

// TestUnmigratedWholeTable expects the errors to say what to do.
func TestUnmigratedWholeTable(t *testing.T) {
	cache, pool := setup[raw](t)
	unmigrated := func(do func(context.Context, string) error) {
		t.Helper()
		err := do(t.Context(), newID())
		wantError(t, "without the table", err, sessioncache.ErrUnavailable)
		if err != nil && !strings.Contains(err.Error(), `run the migrations: goose -dir schema postgres "$DATABASE_URL" up`) {
			t.Errorf("%v; want it to say what to run", err)
		}
	}
	change := func(sql string) {
		t.Helper()
		if _, err := pool.Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
	}

	change(`ALTER TABLE session_cache DROP COLUMN user_id`)
	unmigrated(tableCalls(cache)["UserSessions"])
	unmigrated(calls(cache)["DeleteUser"])
	change(`DROP TABLE session_cache`)
	for _, do := range calls(cache) {
		unmigrated(do)
	}
	for _, do := range tableCalls(cache) {
		unmigrated(do)
	}
}

// network is the way to the server, which a test can cut.
type network struct {
	mu    sync.Mutex
	down  bool
	conns []net.Conn
}

func (n *network) configure(c *pgxpool.Config) {
	dial := c.ConnConfig.DialFunc
	c.ConnConfig.DialFunc = func(ctx context.Context, network, address string) (net.Conn, error) {
		n.mu.Lock()
		defer n.mu.Unlock()
		if n.down {
			return nil, syscall.ECONNREFUSED
		}
		conn, err := dial(ctx, network, address)
		n.conns = append(n.conns, conn)
		return conn, err
	}
}

// cut breaks every connection, and whether new ones can be made.
func (n *network) cut(down bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.down = down
	for _, conn := range n.conns {
		if conn != nil {
			_ = conn.Close()
		}
	}
	n.conns = nil
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
	for call, do := range calls(cache) {
		wantError(t, call, do(t.Context(), newID()), sessioncache.ErrUnavailable)
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
	for call, do := range calls(cache) {
		wantError(t, call, do(t.Context(), id), sessioncache.ErrUnavailable)
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
	id := set(t, cache, raw(`{"a":1}`))
	for range 20 {
		network.cut(false)
		wantUser(t, cache, id, `{"a":1}`)
		network.cut(false)
		set(t, cache, raw(`{}`))
		network.cut(false)
		if ok, err := cache.Update(t.Context(), id, func(*raw) error { return nil }); err != nil || !ok {
			t.Errorf("Update = %v, %v", ok, err)
		}
	}
}
