package sessioncache_test

import (
	"testing"
	"time"

	"github.com/rhaptos/sessiondb/sessioncache"
)

func userOf(id string) raw {
	return raw(`{"user_id":"` + id + `"}`)
}

func wantSessions(t *testing.T, cache *sessioncache.Cache[raw], user string, want ...string) {
	t.Helper()
	sessions, err := cache.UserSessions(t.Context(), user)
	if err != nil || len(sessions) != len(want) || sessions == nil {
		t.Fatalf("UserSessions = %v, %v; want %d", sessions, err, len(want))
	}
	for i, session := range sessions {
		if session.ID.String() != want[i] || session.UserID != user || !session.Live || session.Left <= 0 {
			t.Errorf("session %d is %+v; want %s, live", i, session, want[i])
		}
	}
}

func TestUserSessions(t *testing.T) {
	cache, pool := setup[raw](t)
	me, other := newID(), newID()
	oldest, middle, newest := set(t, cache, userOf(me)), set(t, cache, userOf(me)), set(t, cache, userOf(me))
	expired := set(t, cache, userOf(me))
	set(t, cache, userOf(other))
	set(t, cache, raw(`{"nested":{"user_id":"`+me+`"}}`))
	set(t, cache, raw(`["user_id"]`))
	shift(t, pool, oldest, -2*time.Minute)
	shift(t, pool, middle, -time.Minute)
	shift(t, pool, expired, -2*time.Hour)
	wantSessions(t, cache, me, newest, middle, oldest)
	wantSessions(t, cache, newID())
}
