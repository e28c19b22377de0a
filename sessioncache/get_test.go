package sessioncache_test

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/rhaptos/sessiondb/internal/suite"
	"github.com/rhaptos/sessiondb/sessioncache"
	"github.com/rhaptos/sessiondb/sessioncache/sessiontest"
)

func TestGetAbsent(t *testing.T) {
	cache, _ := setup[raw](t)
	wantNone(t, cache, newID())
}

// TestSessionIsLiveFromStartToEnd looks at a session at the very instants.
func TestSessionIsLiveFromStartToEnd(t *testing.T) {
	suite.Require(t, suite.Undistributed)
	cache, pool := setup[raw](t)
	id, token := set(t, cache, raw(`{}`)), issue(t, cache, raw(`{}`))
	ids := []fmt.Stringer{named(id), token.Handle()}
	err := pgx.BeginFunc(t.Context(), pool, func(tx pgx.Tx) error {
		tx = suite.OneClock{Tx: tx}
		inTx := cache.WithTx(tx)
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
			for _, id := range ids {
				suite.SetTimes(t, tx, id, instant.start, instant.end, instant.end)
			}
			want := func(call string, ok bool, err error) {
				t.Helper()
				if err != nil || ok != instant.live {
					t.Errorf("%s: %s = %v, %v; want %v", instant.name, call, ok, err, instant.live)
				}
			}
			_, ok, err := inTx.Get(t.Context(), id)
			want("Get", ok, err)
			ok, err = inTx.Update(t.Context(), id, func(*raw) error { return nil })
			want("Update", ok, err)
			_, ok, err = inTx.Authenticate(t.Context(), token)
			want("Authenticate", ok, err)
			alive, err := inTx.Alive(t.Context(), token)
			want("Alive", err == nil && alive[0], err)
			ok, err = inTx.UpdateSession(t.Context(), token, func(*raw) error { return nil })
			want("UpdateSession", ok, err)
			renewed, ok, err := inTx.Renew(t.Context(), token)
			want("Renew", ok, err)
			if ok {
				token = renewed
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
		wantOpens(t, cache, issue(t, cache, userOf(me)), string(userOf(me)))
		sessions, err := cache.UserSessions(t.Context(), me)
		if err != nil || len(sessions) != 1 || sessions[0].CreatedAt.Year() < 2020 {
			t.Errorf("UserSessions = %v, %v; want one that starts by the server's clock", sessions, err)
		}
		sessiontest.Elapse(t, pool, named(id), time.Hour+time.Second)
		wantNone(t, cache, id)
	})
}
