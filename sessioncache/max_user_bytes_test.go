package sessioncache_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/rhaptos/sessiondb/sessioncache"
)

// sized is JSON of n bytes.
func sized(n int) raw {
	const head, tail = `{"user_id":"u","a":"`, `"}`
	return raw(head + strings.Repeat("x", n-len(head)-len(tail)) + tail)
}

func TestMaxUserBytes(t *testing.T) {
	_, pool := setup[raw](t)
	for limit, options := range map[int][]sessioncache.Option{
		65_536:  nil, // the default
		100:     {sessioncache.WithMaxUserBytes(100)},
		100_000: {sessioncache.WithMaxUserBytes(100_000)},
	} {
		cache := sessioncache.New[raw](pool, options...)
		id, token := named(set(t, cache, userOf("u"))), issue(t, cache, userOf("u"))
		calls := map[string]func(user raw) error{
			"Set":   func(user raw) error { return cache.Set(t.Context(), newID(), user) },
			"Issue": func(user raw) error { return second(cache.Issue(t.Context(), user)) },
			"Update": func(user raw) error {
				return second(cache.Update(t.Context(), string(id), func(stored *raw) error { *stored = user; return nil }))
			},
			"UpdateSession": func(user raw) error {
				return second(cache.UpdateSession(t.Context(), token, func(stored *raw) error { *stored = user; return nil }))
			},
		}
		unchanged := wantUnchanged[fmt.Stringer](t, pool, id, token.Handle())
		for call, do := range calls {
			wantTooLarge(t, fmt.Sprintf("%s of %d bytes", call, limit+1), do(sized(limit+1)))
		}
		unchanged("users that were too large")
		for call, do := range calls {
			if err := do(sized(limit)); err != nil {
				t.Errorf("%s of %d bytes: %v", call, limit, err)
			}
		}
		wantUser(t, cache, string(id), string(sized(limit)))
		wantOpens(t, cache, token, string(sized(limit)))
	}
}

func wantTooLarge(t *testing.T, what string, err error) {
	t.Helper()
	wantErrorIs(t, what, err, sessioncache.ErrUserTooLarge)
	wantError(t, what, err, sessioncache.ErrInvalidUser)
}

// TestMaxUserBytesOfJSON: what counts is what is stored, not what Go holds.
func TestMaxUserBytesOfJSON(t *testing.T) {
	cache, pool := setup[string](t, sessioncache.WithMaxUserBytes(14))
	set(t, cache, "<<") // "\u003c\u003c"
	wantTooLarge(t, "Set", cache.Set(t.Context(), newID(), "<<<"))

	// A limit that came later ends no session.
	id := set(t, sessioncache.New[string](pool), "longer than fourteen")
	if user, ok, err := cache.Get(t.Context(), id); err != nil || !ok || user != "longer than fourteen" {
		t.Errorf("Get = %q, %v, %v", user, ok, err)
	}
}

// TestTooLargeUserFailsAlone: the others of its batch are stored, and it does not wait for
// them.
func TestTooLargeUserFailsAlone(t *testing.T) {
	t.Parallel()
	inOneBatch(t, func(t *testing.T, _ *sessioncache.Cache[raw], pool *pgxpool.Pool, g *gate) {
		cache := sessioncache.New[raw](pool, sessioncache.WithMaxUserBytes(100))
		setUser := func(id string, user raw) func() error {
			return func() error { return cache.Set(t.Context(), id, user) }
		}
		first := do(setUser(newID(), sized(100)))
		one, large, other := newID(), newID(), newID()
		results := []<-chan error{first, do(setUser(one, sized(100)))}
		tooLarge := do(setUser(large, sized(101)))
		results = append(results, do(setUser(other, sized(99))))
		select {
		case err := <-tooLarge:
			wantTooLarge(t, "Set of 101 bytes", err)
		default:
			t.Error("a user that is too large waits for the batch")
		}
		close(g.open)
		for _, result := range results {
			if err := <-result; err != nil {
				t.Errorf("an innocent Set: %v", err)
			}
		}
		wantUser(t, cache, one, string(sized(100)))
		wantUser(t, cache, other, string(sized(99)))
		wantNone(t, cache, large)
		if g.statements[1] != "InsertSessions" {
			t.Errorf("the statements were %v; want the second to be everybody's", g.statements)
		}
	})
}
