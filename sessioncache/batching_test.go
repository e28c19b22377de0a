package sessioncache_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/rhaptos/sessiondb/internal/suite"
	"github.com/rhaptos/sessiondb/sessioncache"
	"github.com/rhaptos/sessiondb/sessioncache/sessiontest"
	"github.com/rhaptos/sessiondb/sid"
)

func TestLookupsShareAStatement(t *testing.T) {
	t.Parallel()
	inOneBatch(t, func(t *testing.T, cache *sessioncache.Cache[raw], pool *pgxpool.Pool, g *gate) {
		result := func(call string, user raw, ok bool, err error, want string) error {
			if err != nil || ok != (want != "") || string(user) != want {
				return fmt.Errorf("%s = %s, %v, %w; want %q", call, user, ok, err, want)
			}
			for i := range user { // it is the caller's own
				user[i] = 'X'
			}
			return nil
		}
		get := func(id, want string) func() error {
			return func() error {
				user, ok, err := cache.Get(t.Context(), id)
				return result("Get", user, ok, err, want)
			}
		}
		authenticate := func(token sid.Token, want string) func() error {
			return func() error {
				session, ok, err := cache.Authenticate(t.Context(), token)
				return result("Authenticate", session.User, ok, err, want)
			}
		}
		close(g.open) // not yet
		ids, tokens := make([]string, 5), make([]sid.Token, 5)
		for i := range ids {
			ids[i] = set(t, cache, raw(fmt.Sprintf(`{"n":%d}`, i)))
			tokens[i] = issue(t, cache, raw(fmt.Sprintf(`{"token":%d}`, i)))
		}
		expired := set(t, cache, raw(`{}`))
		sessiontest.Elapse(t, pool, named(expired), time.Hour+time.Second)
		g.statements, g.open = nil, make(chan struct{}) // now

		var results []<-chan error
		results = append(results, do(get(ids[0], `{"n":0}`)))
		results = append(results, do(get(expired, "")), do(authenticate(sid.NewToken(), "")))
		for i, id := range ids {
			want, token := fmt.Sprintf(`{"n":%d}`, i), tokens[i]
			results = append(results, do(get(id, want)), do(get(strings.ToUpper(id), want)), do(get(newID(), "")))
			want = fmt.Sprintf(`{"token":%d}`, i)
			results = append(results, do(authenticate(token, want)), do(authenticate(token, want)),
				do(authenticate(token.Renewed(), "")), do(get(token.Handle().String(), "")))
		}
		close(g.open)
		for _, result := range results {
			if err := <-result; err != nil {
				t.Error(err)
			}
		}
		if len(g.statements) != 2 || g.statements[1] != "GetSessions" {
			t.Errorf("the statements were %v; want a single lookup and one for all others", g.statements)
		}
	})
}

func TestSetsShareAStatement(t *testing.T) {
	t.Parallel()
	inOneBatch(t, func(t *testing.T, cache *sessioncache.Cache[raw], _ *pgxpool.Pool, g *gate) {
		setUser := func(id, user string) func() error {
			return func() error { return cache.Set(t.Context(), id, raw(user)) }
		}
		taken, twice, poison, gone := newID(), newID(), newID(), newID()
		first := do(setUser(taken, `{}`))
		var stored []string
		var results []<-chan error
		for range 10 {
			id := newID()
			stored = append(stored, id)
			results = append(results, do(setUser(id, `{"id":"`+id+`"}`)))
		}
		existing := do(setUser(taken, `{"mallory":1}`))
		one, other := do(setUser(twice, `{"one":1}`)), do(setUser(twice, `{"other":1}`))
		rejected, alsoRejected := do(setUser(poison, `{"a":"\u0000"}`)), do(setUser(newID(), `{"a":"\ud800"}`))
		ctx, leave := context.WithCancel(t.Context())
		left := do(func() error { return cache.Set(ctx, gone, raw(`{}`)) })
		leave()
		wantErrorIs(t, "the Set whose caller left", <-left, context.Canceled)
		close(g.open)

		if err := <-first; err != nil {
			t.Error(err)
		}
		for _, result := range results {
			if err := <-result; err != nil {
				t.Errorf("an innocent Set: %v", err)
			}
		}
		wantErrorIs(t, "the Set of an id that exists", <-existing, sessioncache.ErrConflict)
		if a, b := <-one, <-other; (a == nil) == (b == nil) || !errors.Is(errors.Join(a, b), sessioncache.ErrConflict) {
			t.Errorf("two Sets of one id: %v and %v; want one to succeed", a, b)
		}
		wantErrorIs(t, "a dict that PostgreSQL rejects", <-rejected, sessioncache.ErrInvalidUser)
		wantErrorIs(t, "another one", <-alsoRejected, sessioncache.ErrInvalidUser)
		for _, id := range stored {
			wantUser(t, cache, id, `{"id":"`+id+`"}`)
		}
		for _, id := range []string{taken, twice, poison, gone} {
			wantNone(t, cache, id)
		}
		if g.statements[1] != "InsertSessions" {
			t.Errorf("the statements were %v; want the second to be everybody's", g.statements)
		}
	})
}

// TestEverybodyGetsTheirOwn races Gets, Sets and Deletes of many callers over few
// connections: a result that goes to the wrong caller shows.
func TestEverybodyGetsTheirOwn(t *testing.T) {
	t.Parallel()
	pool := sessiontest.NewPool(t, func(c *pgxpool.Config) { c.MaxConns = 3 })
	cache := sessioncache.New[raw](pool)
	const callers, rounds = 128, 60
	var all sync.WaitGroup
	for caller := range callers {
		all.Go(func() {
			for round := range rounds {
				id, want := newID(), fmt.Sprintf(`{"caller":%d,"round":%d}`, caller, round)
				if err := cache.Set(t.Context(), id, raw(want)); err != nil {
					t.Error(err)
					return
				}
				wantUser(t, cache, id, want)
				wantNone(t, cache, newID())
				if err := cache.Delete(t.Context(), id); err != nil {
					t.Error(err)
				}
				wantNone(t, cache, id)
			}
		})
	}
	all.Wait()
}

// TestCancellationRace has half of the callers give up at any moment; the others
// must not notice.
func TestCancellationRace(t *testing.T) {
	t.Parallel()
	pool := sessiontest.NewPool(t, func(c *pgxpool.Config) { c.MaxConns = 3 })
	cache := sessioncache.New[raw](pool)
	id := set(t, cache, raw(`{"still":"here"}`))
	var all sync.WaitGroup
	for caller := range 64 {
		all.Go(func() {
			for range 200 {
				if caller%2 == 0 {
					wantUser(t, cache, id, `{"still":"here"}`)
					continue
				}
				ctx, cancel := context.WithTimeout(t.Context(), time.Duration(rand.IntN(2000))*time.Microsecond)
				user, ok, err := cache.Get(ctx, id)
				cancel()
				if err == nil && (!ok || string(user) != `{"still":"here"}`) {
					t.Errorf("Get = %s, %v, nil", user, ok)
				}
				if err != nil && !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("Get: %v; want the session or the end of the context", err)
				}
			}
		})
	}
	all.Wait()
	wantGivenBack(t, pool)
}

// TestPoolClosedInTheMiddle and TestServerGoneInTheMiddle count on the test's
// deadline for callers who would wait for ever.
func TestPoolClosedInTheMiddle(t *testing.T) {
	t.Parallel()
	pool := sessiontest.NewPool(t, func(c *pgxpool.Config) { c.MaxConns = 3 })
	inTheMiddle(t, sessioncache.New[raw](pool), pool.Close)
}

func TestServerGoneInTheMiddle(t *testing.T) {
	t.Parallel()
	var network network
	pool := sessiontest.NewPool(t, network.configure, func(c *pgxpool.Config) { c.MaxConns = 3 })
	inTheMiddle(t, sessioncache.New[raw](pool), func() { network.cut(true) })
}

// inTheMiddle lets the database go away under 64 callers, each of whom goes on
// until it gets an error.
func inTheMiddle(t *testing.T, cache *sessioncache.Cache[raw], end func()) {
	t.Helper()
	id := set(t, cache, raw(`{"a":1}`))
	var all, busy sync.WaitGroup
	busy.Add(64)
	for caller := range 64 {
		all.Go(func() {
			var err error
			for call := 0; err == nil; call++ {
				if call == 3 {
					busy.Done()
				}
				if caller%2 == 0 {
					err = cache.Set(t.Context(), newID(), raw(`{}`))
					continue
				}
				var user raw
				var ok bool
				user, ok, err = cache.Get(t.Context(), id)
				if err == nil && (!ok || string(user) != `{"a":1}`) {
					t.Errorf("Get = %s, %v, nil; want the session or an error", user, ok)
				}
			}
			wantError(t, "after the end", err, sessioncache.ErrUnavailable)
		})
	}
	busy.Wait()
	end()
	all.Wait()
}

// explosive panics when it is encoded or decoded.
type explosive struct{}

func (explosive) MarshalJSON() ([]byte, error) { panic("encoding") }
func (*explosive) UnmarshalJSON([]byte) error  { panic("decoding") }

func TestPanickingUsers(t *testing.T) {
	t.Parallel()
	pool := sessiontest.NewPool(t, func(c *pgxpool.Config) { c.MaxConns = 2 })
	rawCache, cache := sessioncache.New[raw](pool), sessioncache.New[explosive](pool)
	id := set(t, rawCache, raw(`{}`))
	var all sync.WaitGroup
	for range 32 {
		all.Go(func() {
			suite.WantPanic(t, func() { _ = cache.Set(t.Context(), newID(), explosive{}) })
			suite.WantPanic(t, func() { _, _, _ = cache.Get(t.Context(), id) })
			suite.WantPanic(t, func() { _, _ = cache.Update(t.Context(), id, func(*explosive) error { return nil }) })
			wantUser(t, rawCache, id, `{}`)
		})
	}
	all.Wait()
	wantGivenBack(t, pool)
}
