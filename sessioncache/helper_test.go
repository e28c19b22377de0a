package sessioncache_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/rhaptos/sessiondb/internal/suite"
	"github.com/rhaptos/sessiondb/sessioncache"
	"github.com/rhaptos/sessiondb/sessioncache/sessiontest"
	"github.com/rhaptos/sessiondb/sid"
)

// raw is the T of tests that look at the JSON itself.
type raw = json.RawMessage

const idleTimeout = 20 * time.Minute

func setup[T any](t *testing.T, options ...sessioncache.Option) (*sessioncache.Cache[T], *pgxpool.Pool) {
	t.Helper()
	t.Parallel()
	pool := sessiontest.NewPool(t)
	return sessioncache.New[T](pool, options...), pool
}

func newID() string {
	return sid.New().String()
}

// named is an id as a [fmt.Stringer].
type named string

func (id named) String() string {
	return string(id)
}

// userOf is a user of whom nothing but the id is known.
func userOf(id string) raw {
	return raw(`{"user_id":"` + id + `"}`)
}

// set stores a user under an id of its own.
func set[T any](t *testing.T, cache *sessioncache.Cache[T], user T) (id string) {
	t.Helper()
	id = newID()
	if err := cache.Set(t.Context(), id, user); err != nil {
		t.Fatalf("Set: %v", err)
	}
	return id
}

// issue stores a session with a token.
func issue[T any](t *testing.T, cache *sessioncache.Cache[T], user T, options ...sessioncache.SessionOption) sid.Token {
	t.Helper()
	token, err := cache.Issue(t.Context(), user, options...)
	if err != nil {
		t.Fatalf("Issue: %v", err)
	}
	return token
}

// renew gives a session a new token.
func renew[T any](t *testing.T, cache *sessioncache.Cache[T], token sid.Token, options ...sessioncache.RenewOption) sid.Token {
	t.Helper()
	renewed, ok, err := cache.Renew(t.Context(), token, options...)
	if err != nil || !ok {
		t.Fatalf("Renew = %v, %v", ok, err)
	}
	return renewed
}

func wantUser(t *testing.T, cache *sessioncache.Cache[raw], id, want string) {
	t.Helper()
	user, ok, err := cache.Get(t.Context(), id)
	if err != nil || !ok || string(user) != want {
		t.Errorf("Get = %s, %v, %v; want %s", user, ok, err, want)
	}
}

func wantNone[T any](t *testing.T, cache *sessioncache.Cache[T], id string) {
	t.Helper()
	user, ok, err := cache.Get(t.Context(), id)
	if err != nil || ok {
		t.Errorf("Get = %v, %v, %v; want no session", user, ok, err)
	}
}

// wantOpens expects a token to open a session with this user.
func wantOpens(t *testing.T, cache *sessioncache.Cache[raw], token sid.Token, want string) {
	t.Helper()
	session, ok, err := cache.Authenticate(t.Context(), token)
	if err != nil || !ok || string(session.User) != want || session.Handle != token.Handle() {
		t.Errorf("Authenticate = %+v, %v, %v; want %s", session, ok, err, want)
	}
}

func wantOpensNone[T any](t *testing.T, cache *sessioncache.Cache[T], token sid.Token) {
	t.Helper()
	session, ok, err := cache.Authenticate(t.Context(), token)
	if err != nil || ok {
		t.Errorf("Authenticate = %+v, %v, %v; want no session", session, ok, err)
	}
}

// wantError expects an error that matches one of the package's errors, and no other.
func wantError(t *testing.T, what string, err, want error) {
	t.Helper()
	wantErrorIs(t, what, err, want)
	kinds := 0
	for _, kind := range sessioncache.Kinds {
		if errors.Is(err, kind) {
			kinds++
		}
	}
	if kinds != 1 {
		t.Errorf("%s: %v is %d kinds of error; want exactly one", what, err, kinds)
	}
}

func wantErrorIs(t *testing.T, what string, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("%s: %v; want the error %q", what, err, want)
	}
}

// second returns the error of a call that returns something else first.
func second[R any](_ R, err error) error {
	return err
}

// execute runs a statement that must change one row.
func execute(t *testing.T, database sessioncache.DB, sql string, arguments ...any) {
	t.Helper()
	tag, err := database.Exec(context.Background(), sql, arguments...)
	if err != nil || tag.RowsAffected() != 1 {
		t.Fatalf("%s: %d rows, %v; want 1", sql, tag.RowsAffected(), err)
	}
}

// row is what the table says of a session's times, in microseconds.
type row struct {
	Created, Expires, Deadline, TTL int64
}

func storedRow(t *testing.T, database sessioncache.DB, id string) (r row) {
	t.Helper()
	err := database.QueryRow(t.Context(), `
		SELECT (date_part('epoch', session_startutc) * 1000000)::bigint, (date_part('epoch', session_endutc) * 1000000)::bigint,
		       (date_part('epoch', session_deadlineutc) * 1000000)::bigint, (date_part('epoch', session_endutc - statement_timestamp()) * 1000000)::bigint
		FROM session_cache WHERE sessionid = $1 AND audience = ''`, id).Scan(&r.Created, &r.Expires, &r.Deadline, &r.TTL)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// ttl is how long a session lives if nobody uses it.
func ttl(t *testing.T, database sessioncache.DB, id string) time.Duration {
	t.Helper()
	return micros(storedRow(t, database, id).TTL)
}

func micros(n int64) time.Duration {
	return time.Duration(n) * time.Microsecond
}

// wantGivenBack waits until the pool has all of its connections. One on which a
// statement was cancelled is closed in the background.
func wantGivenBack(t *testing.T, pool *pgxpool.Pool) {
	t.Helper()
	suite.Eventually(t, "every connection is given back", func() bool { return pool.Stat().AcquiredConns() == 0 })
}

// beforeStatement is a tracer that a function is: it is called with the name of each
// statement before it is sent, and the statement runs under the context it returns.
type beforeStatement func(ctx context.Context, name string) context.Context

func (f beforeStatement) TraceQueryStart(ctx context.Context, _ *pgx.Conn, data pgx.TraceQueryStartData) context.Context {
	name, _, _ := strings.Cut(strings.TrimPrefix(data.SQL, "-- name: "), " ")
	return f(ctx, name)
}

func (beforeStatement) TraceQueryEnd(context.Context, *pgx.Conn, pgx.TraceQueryEndData) {}

// insertMany stores n sessions that started long ago. They end a second apart, the last a
// second before the given time from now.
func insertMany(t *testing.T, database sessioncache.DB, n int, end time.Duration) {
	t.Helper()
	tag, err := database.Exec(context.Background(), `
		INSERT INTO session_cache (sessionid, userdict, session_startutc, session_endutc, session_deadlineutc)
		SELECT gen_random_uuid(), '{}', now() - interval '30 days', ends, ends
		FROM generate_series(1, $1::int) AS n, LATERAL (SELECT now() + $2::interval - make_interval(secs => n)) AS end_of (ends)`, n, end)
	if err != nil || tag.RowsAffected() != int64(n) {
		t.Fatal(tag, err)
	}
}

func wantStats(t *testing.T, cache *sessioncache.Cache[raw], live, expired int64) {
	t.Helper()
	stats, err := cache.Stats(t.Context())
	if err != nil || stats.Live != live || stats.Expired != expired {
		t.Errorf("Stats = %+v, %v; want %d live, %d expired", stats, err, live, expired)
	}
}

// twice stores two sessions under one id.
func twice(t *testing.T, cache *sessioncache.Cache[raw], id string) error {
	t.Helper()
	if err := cache.Set(t.Context(), id, raw(`{}`)); err != nil {
		return err
	}
	return cache.Set(t.Context(), id, raw(`{}`))
}

// gate holds the first statement back until it is opened, and notes them all.
type gate struct {
	open chan struct{}

	mu         sync.Mutex
	statements []string
}

func (g *gate) beforeStatement(ctx context.Context, name string) context.Context {
	g.mu.Lock()
	g.statements = append(g.statements, name)
	first := len(g.statements) == 1
	g.mu.Unlock()
	if first {
		<-g.open
	}
	return ctx
}

// inOneBatch runs a test on a Cache with one slot, which a first caller has, so
// that all who come before the gate opens share a batch. Who has come is certain:
// the test runs in a synctest bubble.
func inOneBatch(t *testing.T, test func(t *testing.T, cache *sessioncache.Cache[raw], pool *pgxpool.Pool, g *gate)) {
	t.Helper()
	config, err := pgxpool.ParseConfig(sessiontest.NewDatabase(t).URL)
	if err != nil {
		t.Fatal(err)
	}
	config.MaxConns = 2 // and one of them is nobody's slot
	synctest.Test(t, func(t *testing.T) {
		g := &gate{open: make(chan struct{})}
		config.ConnConfig.Tracer = beforeStatement(g.beforeStatement)
		pool, err := pgxpool.NewWithConfig(t.Context(), config)
		if err != nil {
			t.Fatal(err)
		}
		defer pool.Close()
		cache := sessioncache.New[raw](pool)
		test(t, cache, pool, g)
	})
}

// do runs a call in the background until it waits, and returns where its error
// will be.
func do(call func() error) <-chan error {
	result := make(chan error, 1)
	go func() { result <- call() }()
	synctest.Wait()
	return result
}

// idCalls are the calls that take the id of a plain session.
func idCalls(cache *sessioncache.Cache[raw]) map[string]func(ctx context.Context, id string) error {
	return map[string]func(ctx context.Context, id string) error{
		"Set": func(ctx context.Context, id string) error { return cache.Set(ctx, id, raw(`{}`)) },
		"Get": func(ctx context.Context, id string) error {
			_, ok, err := cache.Get(ctx, id)
			return notOK(ok, err)
		},
		"Delete": cache.Delete,
		"Update": func(ctx context.Context, id string) error {
			ok, err := cache.Update(ctx, id, func(*raw) error { return nil })
			return notOK(ok, err)
		},
	}
}

// tokenCalls are the calls that take a token.
func tokenCalls(cache *sessioncache.Cache[raw]) map[string]func(ctx context.Context, token sid.Token) error {
	renew := func(options ...sessioncache.RenewOption) func(ctx context.Context, token sid.Token) error {
		return func(ctx context.Context, token sid.Token) error {
			renewed, ok, err := cache.Renew(ctx, token, options...)
			return notOK(ok || !renewed.IsZero(), err)
		}
	}
	return map[string]func(ctx context.Context, token sid.Token) error{
		"Authenticate": func(ctx context.Context, token sid.Token) error {
			_, ok, err := cache.Authenticate(ctx, token)
			return notOK(ok, err)
		},
		"UpdateSession": func(ctx context.Context, token sid.Token) error {
			ok, err := cache.UpdateSession(ctx, token, func(*raw) error { return nil })
			return notOK(ok, err)
		},
		"Renew":                  renew(),
		"Renew, reauthenticated": renew(sessioncache.Reauthenticated()),
		"Revoke":                 func(ctx context.Context, token sid.Token) error { return cache.Revoke(ctx, token) },
		"RevokeOthers": func(ctx context.Context, token sid.Token) error {
			_, ok, err := cache.RevokeOthers(ctx, token)
			return notOK(ok, err)
		},
		"RevokeAll": func(ctx context.Context, token sid.Token) error {
			_, ok, err := cache.RevokeAll(ctx, token)
			return notOK(ok, err)
		},
		"RevokeSession": func(ctx context.Context, token sid.Token) error {
			was, ok, err := cache.RevokeSession(ctx, token, token.Handle())
			return notOK(was || ok, err)
		},
		"Retire": func(ctx context.Context, token sid.Token) error {
			was, err := cache.Retire(ctx, token)
			return notOK(was, err)
		},
		"Alive": func(ctx context.Context, token sid.Token) error {
			alive, err := cache.Alive(ctx, sid.NewToken(), token)
			return notOK(alive != nil, err)
		},
	}
}

// userCalls are the calls that take a user's id.
func userCalls(cache *sessioncache.Cache[raw]) map[string]func(ctx context.Context, userID string) error {
	return map[string]func(ctx context.Context, userID string) error{
		"UserSessions": func(ctx context.Context, userID string) error { return second(cache.UserSessions(ctx, userID)) },
		"DeleteUserSessions": func(ctx context.Context, userID string) error {
			return second(cache.DeleteUserSessions(ctx, userID, sid.NewToken().Handle()))
		},
	}
}

// calls are all calls, made for a session with this id or this token.
func calls(cache *sessioncache.Cache[raw], id string, token sid.Token) map[string]func(ctx context.Context) error {
	all := map[string]func(ctx context.Context) error{
		"Issue": func(ctx context.Context) error {
			issued, err := cache.Issue(ctx, userOf("u"))
			return notOK(!issued.IsZero(), err)
		},
		"Issue, limited": func(ctx context.Context) error {
			issued, err := cache.Issue(ctx, userOf(newID()), sessioncache.MaxSessions(1))
			return notOK(!issued.IsZero(), err)
		},
		"Session": func(ctx context.Context) error {
			_, ok, err := cache.Session(ctx, token.Handle())
			return notOK(ok, err)
		},
		"DeleteSession": func(ctx context.Context) error {
			was, err := cache.DeleteSession(ctx, token.Handle())
			return notOK(was, err)
		},
		"Tx": func(ctx context.Context) error {
			return cache.Tx(ctx, func(_ pgx.Tx, cache *sessioncache.Cache[raw]) error { return cache.Delete(ctx, id) })
		},
		"Purge":          func(ctx context.Context) error { return second(cache.Purge(ctx)) },
		"Stats":          func(ctx context.Context) error { return second(cache.Stats(ctx)) },
		"Reindex":        cache.Reindex,
		"DeleteAudience": func(ctx context.Context) error { return second(cache.DeleteAudience(ctx)) },
	}
	for name, call := range idCalls(cache) {
		all[name] = func(ctx context.Context) error { return call(ctx, id) }
	}
	for name, call := range tokenCalls(cache) {
		all[name] = func(ctx context.Context) error { return call(ctx, token) }
	}
	for name, call := range userCalls(cache) {
		all[name] = func(ctx context.Context) error { return call(ctx, "u") }
	}
	return all
}

func notOK(ok bool, err error) error {
	if ok && err != nil {
		return errors.New("ok with an error")
	}
	return err
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

func total(h sessioncache.Histogram) (n uint64) {
	for _, count := range h.Counts {
		n += count
	}
	return n
}

// setupNear returns a Cache with a near cache, and one of another server, which keeps
// nothing itself. They have an audience of their own: DeleteAll ends no session of another
// test that shares the table.
func setupNear[T any](t *testing.T, options ...sessioncache.Option) (near, other *sessioncache.Cache[T], pool *pgxpool.Pool) {
	t.Helper()
	audience := sessioncache.WithAudience(newID())
	near, pool = setup[T](t, append(options, audience, sessioncache.WithNearCache(1000))...)
	return near, sessioncache.New[T](pool, audience, sessioncache.WithNearCache(0)), pool
}

// setupRace is setup for races: on a pool with a few more connections, so that
// statements of several callers meet in the server.
func setupRace[T any](t *testing.T) (*sessioncache.Cache[T], *pgxpool.Pool) {
	t.Helper()
	t.Parallel()
	pool := sessiontest.NewPool(t, func(c *pgxpool.Config) { c.MaxConns = 10 })
	return sessioncache.New[T](pool), pool
}

// rounds runs a test n times, a dozen at once.
func rounds(n int, round func()) {
	var all sync.WaitGroup
	var begun atomic.Int64
	for range 12 {
		all.Go(func() {
			for begun.Add(1) <= int64(n) {
				round()
			}
		})
	}
	all.Wait()
}

// atOnce starts functions together, and waits until all are done.
func atOnce(functions ...func()) {
	var all sync.WaitGroup
	start := make(chan struct{})
	for _, f := range functions {
		all.Go(func() {
			<-start
			f()
		})
	}
	close(start)
	all.Wait()
}

// lag spreads the starts of a quick call over the time that a slow one takes beside it:
// half of the rounds start both together, so that each comes first in some.
type lag struct{ slow atomic.Int64 }

func (l *lag) wait() { time.Sleep(time.Duration(rand.N[int64](2) * rand.N(l.slow.Load()+1))) }

func (l *lag) measure(start time.Time) { l.slow.Store(int64(time.Since(start))) }

// wantDead expects none of the tokens to open a session.
func wantDead[T any](t *testing.T, cache *sessioncache.Cache[T], tokens ...sid.Token) {
	t.Helper()
	alive, err := cache.Alive(t.Context(), tokens...)
	if err != nil || len(alive) != len(tokens) {
		t.Errorf("Alive = %v, %v", alive, err)
	}
	for i, alive := range alive {
		if alive {
			t.Errorf("token %d of %d opens the session", i+1, len(tokens))
		}
	}
}

// wholeRow is all that the table holds of a session, as text; empty when it is
// absent.
func wholeRow(t *testing.T, database sessioncache.DB, session fmt.Stringer) (row string) {
	t.Helper()
	err := database.QueryRow(t.Context(), `SELECT s::text FROM session_cache AS s WHERE sessionid = $1::text::uuid`, session.String()).Scan(&row)
	if err != nil && !errors.Is(err, pgx.ErrNoRows) {
		t.Fatal(err)
	}
	return row
}

// wantUnchanged notes the rows of sessions, and returns a check that they are still
// the same.
func wantUnchanged[S fmt.Stringer](t *testing.T, database sessioncache.DB, sessions ...S) func(after string) {
	t.Helper()
	before := make([]string, len(sessions))
	for i, session := range sessions {
		if before[i] = wholeRow(t, database, session); before[i] == "" {
			t.Fatalf("session %d is absent", i)
		}
	}
	return func(after string) {
		t.Helper()
		for i, session := range sessions {
			if row := wholeRow(t, database, session); row != before[i] {
				t.Errorf("after %s the row is %q; want %q", after, row, before[i])
			}
		}
	}
}

// tokensInAllStates issues a session in each state that a token can find it in, and
// returns the token that opens it, or did.
func tokensInAllStates(t *testing.T, cache *sessioncache.Cache[raw], pool *pgxpool.Pool, user raw) map[string]sid.Token {
	t.Helper()
	tokens := map[string]sid.Token{
		"live":                      issue(t, cache, user),
		"anonymous":                 issue(t, cache, user, sessioncache.Anonymous()),
		"expired":                   issue(t, cache, user),
		"renewed a moment ago":      renew(t, cache, issue(t, cache, user)),
		"renewed long ago":          renew(t, cache, issue(t, cache, user)),
		"re-authenticated long ago": renew(t, cache, issue(t, cache, user), sessioncache.Reauthenticated()),
		"with an idle timeout that is to be extended": issue(t, cache, user, sessioncache.IdleTimeout(idleTimeout)),
	}
	for state, age := range map[string]time.Duration{
		"expired": 2 * time.Hour, "renewed long ago": time.Minute, "re-authenticated long ago": time.Minute,
		"with an idle timeout that is to be extended": idleTimeout / 2,
	} {
		sessiontest.Elapse(t, pool, tokens[state].Handle(), age)
	}
	return tokens
}

type counter struct {
	N int `json:"n"`
}

func increment(c *counter) error {
	c.N++
	return nil
}

// wantSessions expects a user to have these sessions with a token, newest first.
func wantSessions(t *testing.T, cache *sessioncache.Cache[raw], user string, want ...sid.Token) {
	t.Helper()
	sessions, err := cache.UserSessions(t.Context(), user)
	if err != nil || len(sessions) != len(want) || sessions == nil {
		t.Fatalf("UserSessions = %v, %v; want %d", sessions, err, len(want))
	}
	for i, session := range sessions {
		if session.Handle != want[i].Handle() || session.UserID != user || session.State != sessioncache.StateLive ||
			session.TTL <= 0 || string(session.User) != string(userOf(user)) || session.Anonymous() {
			t.Errorf("session %d is %+v; want %s, live", i, session, want[i].Handle())
		}
	}
}
