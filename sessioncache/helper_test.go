package sessioncache_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/rhaptos/sessiondb/sessioncache"
	"github.com/rhaptos/sessiondb/sessioncache/sessiontest"
	"github.com/rhaptos/sessiondb/sessioncache/sid"
)

// raw is the T of tests that look at the JSON itself.
type raw = json.RawMessage

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

func wantPanic(t *testing.T, f func()) {
	t.Helper()
	defer func() {
		if recover() == nil {
			t.Error("it did not panic")
		}
	}()
	f()
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

// eventually waits for what nobody announces.
func eventually(t *testing.T, what string, happens func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !happens(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("a minute, and not yet: %s", what)
		}
	}
}

// wantGivenBack waits until the pool has all of its connections. One on which a
// statement was cancelled is closed in the background.
func wantGivenBack(t *testing.T, pool *pgxpool.Pool) {
	t.Helper()
	eventually(t, "every connection is given back", func() bool { return pool.Stat().AcquiredConns() == 0 })
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

// beforeStatement is a tracer that a function is: it is called with the name of each
// statement before it is sent, and the statement runs under the context it returns.
type beforeStatement func(ctx context.Context, name string) context.Context

func (f beforeStatement) TraceQueryStart(ctx context.Context, _ *pgx.Conn, data pgx.TraceQueryStartData) context.Context {
	name, _, _ := strings.Cut(strings.TrimPrefix(data.SQL, "-- name: "), " ")
	return f(ctx, name)
}

func (beforeStatement) TraceQueryEnd(context.Context, *pgx.Conn, pgx.TraceQueryEndData) {}

// oneClock is a transaction in which all statements run at one instant, now(). It
// is for tests of the very instants at which something begins or ends.
type oneClock struct{ pgx.Tx }

func (tx oneClock) Begin(ctx context.Context) (pgx.Tx, error) {
	savepoint, err := tx.Tx.Begin(ctx)
	return oneClock{savepoint}, err
}

func (tx oneClock) Exec(ctx context.Context, sql string, arguments ...any) (pgconn.CommandTag, error) {
	return tx.Tx.Exec(ctx, atNow(sql), arguments...)
}

func (tx oneClock) Query(ctx context.Context, sql string, arguments ...any) (pgx.Rows, error) {
	return tx.Tx.Query(ctx, atNow(sql), arguments...)
}

func (tx oneClock) QueryRow(ctx context.Context, sql string, arguments ...any) pgx.Row {
	return tx.Tx.QueryRow(ctx, atNow(sql), arguments...)
}

func atNow(sql string) string {
	return strings.ReplaceAll(sql, "statement_timestamp()", "now()")
}
