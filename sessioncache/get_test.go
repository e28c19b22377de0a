package sessioncache_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/rhaptos/sessiondb/sessioncache"
	"github.com/rhaptos/sessiondb/sessioncache/sessiontest"
)

func TestGetAbsent(t *testing.T) {
	cache, _ := setup[raw](t)
	wantNone(t, cache, newID())
}

// TestSessionIsLiveFromStartToEndOneClock looks at a session at the very instants: in a
// transaction now() stands still.
func TestSessionIsLiveFromStartToEndOneClock(t *testing.T) {
	cache, pool := setup[raw](t)
	id := set(t, cache, raw(`{}`))
	err := pgx.BeginFunc(t.Context(), pool, func(tx pgx.Tx) error {
		for _, instant := range []struct {
			name       string
			start, end time.Duration // from now
			live       bool
		}{
			{"in the middle", -time.Minute, time.Minute, true},
			{"its first instant", 0, time.Hour, true},
			{"a microsecond before it", time.Microsecond, time.Hour, false},
			{"its last instant", -time.Hour, 0, true},
			{"a microsecond after it", -time.Hour, -time.Microsecond, false},
		} {
			execute(t, tx, `
				UPDATE session_cache SET session_startutc = now() + $1::interval, session_endutc = now() + $2::interval
				WHERE sessionid = $3`, instant.start, instant.end, id)
			inTx := cache.WithTx(tx)
			_, ok, err := inTx.Get(t.Context(), id)
			if err != nil || ok != instant.live {
				t.Errorf("%s: Get = %v, %v; want %v", instant.name, ok, err, instant.live)
			}
			ok, err = inTx.Update(t.Context(), id, func(*raw) error { return nil })
			if err != nil || ok != instant.live {
				t.Errorf("%s: Update = %v, %v; want %v", instant.name, ok, err, instant.live)
			}
			there := newID()
			ok, err = inTx.Rotate(t.Context(), id, there)
			if err != nil || ok != instant.live {
				t.Errorf("%s: Rotate = %v, %v; want %v", instant.name, ok, err, instant.live)
			}
			if ok {
				id = there
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestClientClockPlaysNoPart runs a client whose clock is decades slow: in a
// synctest bubble it is the year 2000.
func TestClientClockPlaysNoPart(t *testing.T) {
	t.Parallel()
	// Not in the bubble, whose goroutines it would outlive.
	url := sessiontest.NewDatabase(t).URL
	synctest.Test(t, func(t *testing.T) {
		if time.Now().Year() != 2000 {
			t.Fatalf("the client's clock shows %v", time.Now())
		}
		pool, err := pgxpool.New(t.Context(), url)
		if err != nil {
			t.Fatal(err)
		}
		defer pool.Close()
		cache := sessioncache.New[raw](pool)
		me := newID()
		id := set(t, cache, userOf(me))
		wantUser(t, cache, id, string(userOf(me)))
		sessions, err := cache.UserSessions(t.Context(), me)
		if err != nil || len(sessions) != 1 || sessions[0].Start.Year() < 2020 {
			t.Errorf("UserSessions = %v, %v; want one that starts by the server's clock", sessions, err)
		}
		shift(t, pool, id, -time.Hour-time.Second)
		wantNone(t, cache, id)
	})
}
