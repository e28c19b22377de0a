package sessioncache_test

import (
	"context"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/rhaptos/sessiondb/sessioncache"
)

func TestDeleteUser(t *testing.T) {
	cache, pool := setup[raw](t)
	me, other := newID(), newID()
	a, b, here := set(t, cache, userOf(me)), set(t, cache, userOf(me)), set(t, cache, userOf(me))
	expired := set(t, cache, userOf(me))
	shift(t, pool, expired, -2*time.Hour)
	others := set(t, cache, userOf(other))

	n, err := cache.DeleteUser(t.Context(), me, here, others)
	if err != nil || n != 3 {
		t.Errorf("DeleteUser but here = %d, %v; want 3", n, err)
	}
	wantNone(t, cache, a)
	wantNone(t, cache, b)
	wantSessions(t, cache, me, here)

	n, err = cache.DeleteUser(t.Context(), me)
	if err != nil || n != 1 {
		t.Errorf("DeleteUser = %d, %v; want 1", n, err)
	}
	wantSessions(t, cache, me)
	wantSessions(t, cache, other, others)
}

// restless is a database where the user comes back whenever somebody looks.
type restless struct {
	*pgxpool.Pool
	user string
}

func (r restless) QueryRow(ctx context.Context, sql string, arguments ...any) pgx.Row {
	if strings.Contains(sql, "HasUserSessions") {
		_, _ = r.Exec(ctx, "INSERT INTO session_cache (sessionid, userdict, session_endutc) VALUES ($1, $2, now() + interval '1 hour')",
			newID(), string(userOf(r.user)))
	}
	return r.Pool.QueryRow(ctx, sql, arguments...)
}

// TestDeleteUserHoldsTheRestless has sessions come as fast as they go: in the end
// they are kept from coming.
func TestDeleteUserHoldsTheRestless(t *testing.T) {
	cache, pool := setup[raw](t)
	me := newID()
	here, other := set(t, cache, userOf(me)), set(t, cache, userOf(newID()))
	set(t, cache, userOf(me))
	n, err := sessioncache.New[raw](restless{pool, me}).DeleteUser(t.Context(), me, here)
	if err != nil || n < 1 {
		t.Errorf("DeleteUser = %d, %v", n, err)
	}
	wantSessions(t, cache, me, here)
	if _, ok, err := cache.Get(t.Context(), other); err != nil || !ok {
		t.Errorf("another user's session: %v, %v", ok, err)
	}
}

// TestDeleteUserRacingRotate has a session on the move while its user logs out
// everywhere: it must not slip through under its new id.
func TestDeleteUserRacingRotate(t *testing.T) {
	cache, _ := setup[raw](t)
	for range 300 {
		me := newID()
		var movers sync.WaitGroup
		for range 3 {
			id := set(t, cache, userOf(me))
			movers.Go(func() {
				for ok := true; ok; {
					next := newID()
					var err error
					if ok, err = cache.Rotate(t.Context(), id, next); err != nil {
						t.Error(err)
					}
					id = next
				}
			})
		}
		if _, err := cache.DeleteUser(t.Context(), me); err != nil {
			t.Fatal(err)
		}
		wantSessions(t, cache, me)
		movers.Wait()
	}
}
