package sessioncache_test

import (
	"context"
	"fmt"
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
	"github.com/rhaptos/sessiondb/sessioncache/sessiontest"
	"github.com/rhaptos/sessiondb/sid"
)

// TestIdleTimeout looks at a session at the very instants.
func TestIdleTimeout(t *testing.T) {
	suite.Require(t, suite.Undistributed)
	cache, pool := setup[raw](t, sessioncache.WithIdleTimeout(idleTimeout))
	id := set(t, cache, raw(`{}`))
	sessionID, err := sid.Parse(id)
	if err != nil {
		t.Fatal(err)
	}
	err = pgx.BeginFunc(t.Context(), pool, func(tx pgx.Tx) error {
		tx = suite.OneClock{Tx: tx}
		inTx := cache.WithTx(tx)
		for _, instant := range []struct {
			name     string
			age, ttl time.Duration // as the last use has left it
			live     bool
			want     time.Duration // the TTL after it was used
		}{
			{"just used", 10 * time.Minute, idleTimeout, true, idleTimeout},
			{"a quarter has passed", 10 * time.Minute, 15 * time.Minute, true, 15 * time.Minute},
			{"more than a quarter", 10 * time.Minute, 15*time.Minute - time.Microsecond, true, idleTimeout},
			{"its last instant", 10 * time.Minute, 0, true, idleTimeout},
			{"a microsecond after it", 10 * time.Minute, -time.Microsecond, false, -time.Microsecond},
			{"near the deadline", 50 * time.Minute, 5 * time.Minute, true, 10 * time.Minute},
			{"up to the deadline", 50 * time.Minute, 10 * time.Minute, true, 10 * time.Minute},
			{"the deadline", time.Hour, 0, true, 0},
		} {
			suite.SetTimes(t, tx, sessionID, -instant.age, instant.ttl, time.Hour-instant.age)
			if _, ok, err := inTx.Get(t.Context(), id); err != nil || ok != instant.live {
				t.Errorf("%s: Get = %v, %v; want %v", instant.name, ok, err, instant.live)
			}
			row := storedRow(t, tx, id)
			if micros(row.TTL) != instant.ttl {
				t.Errorf("%s: Get in a transaction has left %s; want %s", instant.name, micros(row.TTL), instant.ttl)
			}
			if _, err := db.New(tx).ExtendSession(t.Context(), db.ExtendSessionParams{SessionID: sessionID}); err != nil {
				t.Errorf("%s: ExtendSession: %v", instant.name, err)
			}
			row = storedRow(t, tx, id)
			if micros(row.TTL) != instant.want {
				t.Errorf("%s: %s are left; want %s", instant.name, micros(row.TTL), instant.want)
			}
			if age := micros(row.Expires - row.TTL - row.Created); age != instant.age {
				t.Errorf("%s: the session began %s ago; want %s", instant.name, age, instant.age)
			}
			if lifetime := micros(row.Deadline - row.Created); lifetime != time.Hour {
				t.Errorf("%s: the deadline is %s after the start", instant.name, lifetime)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestIdleTimeoutAfterSet(t *testing.T) {
	t.Parallel()
	pool := sessiontest.NewPool(t)
	for _, test := range []struct{ idle, lifetime, want time.Duration }{
		{idleTimeout, time.Hour, idleTimeout},
		{time.Hour, idleTimeout, idleTimeout},
		{40 * time.Hour, 50 * time.Hour, 40 * time.Hour},
	} {
		cache := sessioncache.New[raw](pool, sessioncache.WithIdleTimeout(test.idle), sessioncache.WithLifetime(test.lifetime))
		token := issue(t, cache, raw(`{}`))
		for call, id := range map[string]string{"Set": set(t, cache, raw(`{}`)), "Issue": token.Handle().String()} {
			row := storedRow(t, pool, id)
			if micros(row.Expires-row.Created) != test.want || micros(row.Deadline-row.Created) != test.lifetime {
				t.Errorf("%s, idle timeout %s, lifetime %s: %+v; want %s", call, test.idle, test.lifetime, row, test.want)
			}
		}
	}
}

// TestIdleTimeoutIsTheSessions: a session keeps the timeouts it was stored with,
// whatever those of the Cache that finds it.
func TestIdleTimeoutIsTheSessions(t *testing.T) {
	with, pool := setup[raw](t, sessioncache.WithIdleTimeout(idleTimeout))
	without := sessioncache.New[raw](pool)
	id := set(t, with, raw(`{}`))
	sessiontest.Elapse(t, pool, named(id), idleTimeout/2)
	wantUser(t, without, id, `{}`)
	if got := ttl(t, pool, id); got < idleTimeout-time.Minute {
		t.Errorf("%s are left of a session with an idle timeout; want %s", got, idleTimeout)
	}
	id = set(t, without, raw(`{}`))
	sessiontest.Elapse(t, pool, named(id), 50*time.Minute)
	wantUser(t, with, id, `{}`)
	if got := ttl(t, pool, id); got > 10*time.Minute {
		t.Errorf("%s are left of a session without; want 10m", got)
	}
}

// TestBatchedLookupsExtend looks several sessions up in batches: those that need it
// are extended, each once.
func TestBatchedLookupsExtend(t *testing.T) {
	t.Parallel()
	var log suite.Log
	pool := sessiontest.NewPool(t, func(c *pgxpool.Config) { c.MaxConns = 2 })
	cache := sessioncache.New[raw](pool, sessioncache.WithIdleTimeout(idleTimeout),
		sessioncache.WithLogger(log.Logger(slog.LevelDebug)))
	const sessions, rounds = 8, 20
	for range rounds {
		var ids []string
		var calls []func()
		for i := range sessions {
			user := fmt.Sprintf(`{"n":%d}`, i)
			if i%4 < 2 {
				id := set(t, cache, raw(user))
				ids = append(ids, id)
				calls = append(calls, func() { wantUser(t, cache, id, user) })
			} else {
				token := issue(t, cache, raw(user))
				ids = append(ids, token.Handle().String())
				calls = append(calls, func() { wantOpens(t, cache, token, user) })
			}
			if i%2 == 0 {
				sessiontest.Elapse(t, pool, named(ids[i]), idleTimeout/2)
			}
		}
		var callers sync.WaitGroup
		for range 4 {
			for _, call := range calls {
				callers.Go(call)
			}
		}
		callers.Wait()
		for i, id := range ids {
			if got := ttl(t, pool, id); got < idleTimeout-time.Minute {
				t.Errorf("session %d has %s left", i, got)
			}
		}
	}
	if n := strings.Count(log.String(), "session extended"); n != rounds*sessions/2 {
		t.Errorf("%d sessions were extended; want %d", n, rounds*sessions/2)
	}
}

// TestExtendRacingDelete checks that being used does not bring a session back.
func TestExtendRacingDelete(t *testing.T) {
	cache, pool := setup[raw](t, sessioncache.WithIdleTimeout(idleTimeout))
	for range 200 {
		id, token := set(t, cache, raw(`{}`)), issue(t, cache, raw(`{}`))
		sessiontest.Elapse(t, pool, named(id), idleTimeout/2)
		sessiontest.Elapse(t, pool, token.Handle(), idleTimeout/2)
		var lookups sync.WaitGroup
		for range 4 {
			lookups.Go(func() {
				if _, _, err := cache.Get(t.Context(), id); err != nil {
					t.Error(err)
				}
				if _, _, err := cache.Authenticate(t.Context(), token); err != nil {
					t.Error(err)
				}
			})
		}
		for _, err := range []error{cache.Delete(t.Context(), id), cache.Revoke(t.Context(), token)} {
			if err != nil {
				t.Fatal(err)
			}
		}
		wantNone(t, cache, id)
		wantOpensNone(t, cache, token)
		lookups.Wait()
		wantNone(t, cache, id)
		wantOpensNone(t, cache, token)
	}
}

// TestExtensionGoesBySecret renews a session between the lookup with its old token
// and the extension that follows: the old token no longer extends it.
func TestExtensionGoesBySecret(t *testing.T) {
	issuer, other := setup[raw](t, sessioncache.WithIdleTimeout(idleTimeout))
	token := issue(t, issuer, raw(`{}`))
	sessiontest.Elapse(t, other, token.Handle(), idleTimeout/2)
	var renewed sid.Token
	config := other.Config()
	config.ConnConfig.Tracer = beforeStatement(func(ctx context.Context, name string) context.Context {
		if name == "ExtendSession" && renewed.IsZero() {
			renewed = renew(t, issuer, token)
		}
		return ctx
	})
	pool, err := pgxpool.NewWithConfig(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	defer pool.Close()
	cache := sessioncache.New[raw](pool)
	wantOpens(t, cache, token, `{}`)
	if got := ttl(t, pool, token.Handle().String()); got > idleTimeout/2 || renewed.IsZero() {
		t.Errorf("%s are left, the token was renewed is %v; want that nothing was extended", got, !renewed.IsZero())
	}
	wantOpens(t, cache, renewed, `{}`)
	if got := ttl(t, pool, token.Handle().String()); got < idleTimeout-time.Minute {
		t.Errorf("%s are left; want that the new token extends the session", got)
	}
}

// TestExtendFails checks that a user who is there is let in even where the session
// cannot be extended.
func TestExtendFails(t *testing.T) {
	t.Parallel()
	var log suite.Log
	pool := sessiontest.NewPool(t, func(c *pgxpool.Config) {
		c.ConnConfig.Tracer = beforeStatement(func(ctx context.Context, name string) context.Context {
			if name != "ExtendSession" {
				return ctx
			}
			ended, end := context.WithCancel(ctx)
			end()
			return ended
		})
	})
	cache := sessioncache.New[raw](pool, sessioncache.WithIdleTimeout(idleTimeout), sessioncache.WithLogger(log.Logger(slog.LevelInfo)))
	id, token := set(t, cache, raw(`{}`)), issue(t, cache, raw(`{}`))
	sessiontest.Elapse(t, pool, named(id), idleTimeout/2)
	sessiontest.Elapse(t, pool, token.Handle(), idleTimeout/2)
	wantUser(t, cache, id, `{}`)
	wantOpens(t, cache, token, `{}`)
	got := log.String()
	if strings.Count(got, `level=WARN msg="session not extended"`) != 2 || !strings.Contains(got, token.Handle().String()) ||
		strings.Contains(got, id) || strings.Contains(got, token.Reveal()) {
		t.Errorf("the log is %q", got)
	}
}

// TestLookupInCallersTransactionDoesNotExtend: there a failed extension would be the
// end of the transaction.
func TestLookupInCallersTransactionDoesNotExtend(t *testing.T) {
	cache, pool := setup[raw](t, sessioncache.WithIdleTimeout(idleTimeout))
	id, token := set(t, cache, raw(`{}`)), issue(t, cache, raw(`{}`))
	ids := []named{named(id), named(token.Handle().String())}
	for _, id := range ids {
		sessiontest.Elapse(t, pool, id, idleTimeout/2)
	}
	conn, err := pool.Acquire(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Release()
	lookUp := func(cache *sessioncache.Cache[raw], extends bool) {
		t.Helper()
		wantUser(t, cache, id, `{}`)
		wantOpens(t, cache, token, `{}`)
		for _, id := range ids {
			if got := ttl(t, conn.Conn(), id.String()); (got > idleTimeout/2) != extends {
				t.Errorf("%s are left of %s; want it extended: %v", got, idleTimeout, extends)
			}
		}
	}
	err = pgx.BeginFunc(t.Context(), conn, func(tx pgx.Tx) error {
		lookUp(cache.WithTx(tx), false)
		lookUp(sessioncache.New[raw](conn.Conn()), false)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	lookUp(sessioncache.New[raw](conn.Conn()), true)
}
