package sessioncache_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/rhaptos/sessiondb/sessioncache"
	"github.com/rhaptos/sessiondb/sessioncache/sessiontest"
)

const idleTimeout = 20 * time.Minute

// TestIdleTimeoutOneClock looks at a session at the very instants: in a transaction now()
// stands still.
func TestIdleTimeoutOneClock(t *testing.T) {
	cache, pool := setup[raw](t, sessioncache.WithIdleTimeout(idleTimeout))
	id := set(t, cache, raw(`{}`))
	err := pgx.BeginFunc(t.Context(), pool, func(tx pgx.Tx) error {
		inTx := cache.WithTx(tx)
		for _, instant := range []struct {
			name      string
			age, left time.Duration // as the last use has left it
			live      bool
			want      time.Duration // left after Get
		}{
			{"just used", 10 * time.Minute, idleTimeout, true, idleTimeout},
			{"a quarter has gone", 10 * time.Minute, 15 * time.Minute, true, 15 * time.Minute},
			{"more than a quarter", 10 * time.Minute, 15*time.Minute - time.Microsecond, true, idleTimeout},
			{"its last instant", 10 * time.Minute, 0, true, idleTimeout},
			{"a microsecond after it", 10 * time.Minute, -time.Microsecond, false, -time.Microsecond},
			{"near the cap", 50 * time.Minute, 5 * time.Minute, true, 10 * time.Minute},
			{"at the cap", 50 * time.Minute, 10 * time.Minute, true, 10 * time.Minute},
			{"past the cap, from a longer duration", 70 * time.Minute, time.Minute, true, time.Minute},
		} {
			execute(t, tx, `
				UPDATE session_cache SET session_startutc = now() - $1::interval, session_endutc = now() + $2::interval
				WHERE sessionid = $3`, instant.age, instant.left, id)
			if _, ok, err := inTx.Get(t.Context(), id); err != nil || ok != instant.live {
				t.Errorf("%s: Get = %v, %v; want %v", instant.name, ok, err, instant.live)
			}
			session, ok, err := inTx.Session(t.Context(), id)
			if err != nil || !ok || session.Live != instant.live || session.Left != instant.want {
				t.Errorf("%s: Session = %+v, %v, %v; want %s left", instant.name, session, ok, err, instant.want)
			}
			if age := session.End.Add(-session.Left).Sub(session.Start); age != instant.age {
				t.Errorf("%s: the session began %s ago; want %s", instant.name, age, instant.age)
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
	for _, test := range []struct{ idle, duration, want time.Duration }{
		{idleTimeout, time.Hour, idleTimeout},
		{time.Hour, idleTimeout, idleTimeout},
		{40 * time.Hour, 50 * time.Hour, 40 * time.Hour},
	} {
		cache := sessioncache.New[raw](pool, sessioncache.WithIdleTimeout(test.idle), sessioncache.WithDuration(test.duration))
		session, _, err := cache.Session(t.Context(), set(t, cache, raw(`{}`)))
		if err != nil || session.End.Sub(session.Start) != test.want || session.Left > test.want || session.Left < test.want-time.Minute {
			t.Errorf("idle timeout %s, duration %s: %+v, %v; want %s", test.idle, test.duration, session, err, test.want)
		}
	}
}

// TestGetsTogetherExtend has the Gets of several sessions ride together: the ends
// of those that need it are put off, each once.
func TestGetsTogetherExtend(t *testing.T) {
	t.Parallel()
	var log syncBuffer
	pool := sessiontest.NewPool(t, func(c *pgxpool.Config) { c.MaxConns = 2 })
	cache := sessioncache.New[raw](pool, sessioncache.WithIdleTimeout(idleTimeout),
		sessioncache.WithLogger(slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))))
	const sessions, rounds = 8, 20
	for range rounds {
		var ids []string
		for i := range sessions {
			id := set(t, cache, raw(fmt.Sprintf(`{"n":%d}`, i)))
			ids = append(ids, id)
			if i%2 == 0 {
				shift(t, pool, id, -idleTimeout/2)
			}
		}
		var callers sync.WaitGroup
		for range 4 {
			for i, id := range ids {
				callers.Go(func() { wantUser(t, cache, id, fmt.Sprintf(`{"n":%d}`, i)) })
			}
		}
		callers.Wait()
		for i, id := range ids {
			session, _, err := cache.Session(t.Context(), id)
			if err != nil || session.Left < idleTimeout-time.Minute {
				t.Errorf("session %d has %s left, %v", i, session.Left, err)
			}
		}
	}
	if n := strings.Count(log.String(), "session extended"); n != rounds*sessions/2 {
		t.Errorf("%d ends were put off; want %d", n, rounds*sessions/2)
	}
}

// TestExtendRacingDelete checks that being used does not bring a session back.
func TestExtendRacingDelete(t *testing.T) {
	cache, pool := setup[raw](t, sessioncache.WithIdleTimeout(idleTimeout))
	for range 200 {
		id := set(t, cache, raw(`{}`))
		shift(t, pool, id, -idleTimeout/2)
		var gets sync.WaitGroup
		for range 4 {
			gets.Go(func() {
				if _, _, err := cache.Get(t.Context(), id); err != nil {
					t.Error(err)
				}
			})
		}
		if err := cache.Delete(t.Context(), id); err != nil {
			t.Fatal(err)
		}
		wantNone(t, cache, id)
		gets.Wait()
		wantNone(t, cache, id)
	}
}

// TestExtendFails checks that a user who is there is let in even where the end
// cannot be put off.
func TestExtendFails(t *testing.T) {
	var log syncBuffer
	cache, pool := setup[raw](t, sessioncache.WithIdleTimeout(idleTimeout),
		sessioncache.WithLogger(slog.New(slog.NewTextHandler(&log, nil))))
	id := set(t, cache, raw(`{}`))
	shift(t, pool, id, -idleTimeout/2)
	tx, err := pool.BeginTx(t.Context(), pgx.TxOptions{AccessMode: pgx.ReadOnly})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = tx.Rollback(context.WithoutCancel(t.Context())) }()
	wantUser(t, cache.WithTx(tx), id, `{}`)
	if got := log.String(); !strings.Contains(got, `level=WARN msg="session not extended"`) || strings.Contains(got, id) {
		t.Errorf("the log is %q", got)
	}
}

func TestGetAll(t *testing.T) {
	cache, pool := setup[raw](t, sessioncache.WithIdleTimeout(idleTimeout))
	a, b, expired := set(t, cache, raw(`{"a":1}`)), set(t, cache, raw(`{"b":2}`)), set(t, cache, raw(`{}`))
	shift(t, pool, b, -idleTimeout/2)
	shift(t, pool, expired, -time.Hour)
	upper := strings.ToUpper(a)
	users, err := cache.GetAll(t.Context(), a, upper, b, expired, newID())
	if err != nil || len(users) != 3 || string(users[a]) != `{"a":1}` || string(users[upper]) != `{"a":1}` || string(users[b]) != `{"b":2}` {
		t.Errorf("GetAll = %s, %v", users, err)
	}
	if session, _, err := cache.Session(t.Context(), b); err != nil || session.Left > idleTimeout/2 {
		t.Errorf("GetAll put off the end: %+v, %v", session, err)
	}
	if users, err := cache.GetAll(t.Context()); err != nil || len(users) != 0 {
		t.Errorf("GetAll of nothing = %v, %v", users, err)
	}
	_, err = cache.GetAll(t.Context(), a, "Dr. Evil")
	wantError(t, "GetAll", err, sessioncache.ErrMalformedID)
	_, err = sessioncache.New[int](pool).GetAll(t.Context(), a)
	wantError(t, "GetAll of what is no int", err, sessioncache.ErrInvalidUser)
}

func TestSession(t *testing.T) {
	cache, pool := setup[raw](t)
	me := newID()
	live, nobodys, expired := set(t, cache, userOf(me)), set(t, cache, raw(`{}`)), set(t, cache, userOf(me))
	shift(t, pool, expired, -2*time.Hour)
	for _, test := range []struct {
		id, user string
		live     bool
	}{{live, me, true}, {nobodys, "", true}, {expired, me, false}} {
		session, ok, err := cache.Session(t.Context(), test.id)
		if err != nil || !ok || session.ID.String() != test.id || session.UserID != test.user || session.Live != test.live ||
			session.Live != (session.Left >= 0) || session.End.Sub(session.Start) != time.Hour {
			t.Errorf("Session = %+v, %v, %v; want %+v", session, ok, err, test)
		}
	}
	if session, ok, err := cache.Session(t.Context(), newID()); err != nil || ok {
		t.Errorf("Session of nothing = %v, %v, %v", session, ok, err)
	}
	_, _, err := cache.Session(t.Context(), "Dr. Evil")
	wantError(t, "Session", err, sessioncache.ErrMalformedID)
}

// syncBuffer is a log that several goroutines write.
type syncBuffer struct {
	mu     sync.Mutex
	buffer bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buffer.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buffer.String()
}
