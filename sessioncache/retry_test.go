package sessioncache_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/rhaptos/sessiondb/internal/suite"
	"github.com/rhaptos/sessiondb/sessioncache"
	"github.com/rhaptos/sessiondb/sessioncache/sessiontest"
)

// lossy is a network that loses answers: what is sent arrives, and the connection
// breaks before anything comes back.
type lossy struct {
	losing     atomic.Int64 // answers to lose from now on
	statements atomic.Int64
}

func (l *lossy) configure(c *pgxpool.Config) {
	c.MaxConns = 2
	c.ConnConfig.Tracer = l
	c.ConnConfig.DefaultQueryExecMode = pgx.QueryExecModeExec // one answer to each statement
	dial := c.ConnConfig.DialFunc
	c.ConnConfig.DialFunc = func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := dial(ctx, network, address)
		return lossyConn{conn, l}, err
	}
}

func (l *lossy) TraceQueryStart(ctx context.Context, _ *pgx.Conn, _ pgx.TraceQueryStartData) context.Context {
	l.statements.Add(1)
	return ctx
}

func (l *lossy) TraceQueryEnd(context.Context, *pgx.Conn, pgx.TraceQueryEndData) {}

type lossyConn struct {
	net.Conn
	network *lossy
}

func (c lossyConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p) // it has arrived
	if n > 0 && c.network.losing.Add(-1) >= 0 {
		_ = c.Close()
		return 0, io.ErrUnexpectedEOF
	}
	return n, err
}

// TestReadsAreRetriedAndWritesAreNot loses the answer to each call. A read is
// asked again; a write has happened, and to ask again would take the session for
// one that somebody else stored.
func TestReadsAreRetriedAndWritesAreNot(t *testing.T) {
	t.Parallel()
	var network lossy
	cache := sessioncache.New[raw](sessiontest.NewPool(t, network.configure))
	ctx, me := t.Context(), newID()
	id, token := set(t, cache, userOf(me)), issue(t, cache, userOf(me))

	for name, read := range map[string]func() error{
		"Get":          func() error { wantUser(t, cache, id, string(userOf(me))); return nil },
		"Authenticate": func() error { wantOpens(t, cache, token, string(userOf(me))); return nil },
		"Alive":        func() error { return second(cache.Alive(ctx, token)) },
		"Session":      func() error { _, _, err := cache.Session(ctx, token.Handle()); return err },
		"UserSessions": func() error { wantSessions(t, cache, me, token); return nil },
		"Stats":        func() error { return second(cache.Stats(ctx)) },
	} {
		for _, lost := range []int64{1, 2} {
			network.losing.Store(lost)
			if err := read(); err != nil {
				t.Errorf("%s, %d answers lost: %v", name, lost, err)
			}
			if left := network.losing.Swap(0); left > 0 {
				t.Errorf("%s: %d answers were not lost", name, left)
			}
		}
	}

	other, somebody := newID(), newID()
	renewed, revoked, deleted := issue(t, cache, raw(`{}`)), issue(t, cache, raw(`{}`)), issue(t, cache, raw(`{}`))
	visitors := issue(t, cache, raw(`{}`), sessioncache.Anonymous())
	for _, write := range []struct {
		name     string
		do       func() error
		happened func()
	}{
		{"Set", func() error { return cache.Set(ctx, other, raw(`{}`)) }, func() { wantUser(t, cache, other, `{}`) }},
		{"Delete", func() error { return cache.Delete(ctx, other) }, func() { wantNone(t, cache, other) }},
		{"Issue", func() error { return second(cache.Issue(ctx, userOf(somebody))) }, func() {
			if sessions, err := cache.UserSessions(ctx, somebody); err != nil || len(sessions) != 1 {
				t.Errorf("after Issue: %v, %v; want one session", sessions, err)
			}
		}},
		{"Renew", func() error { _, _, err := cache.Renew(ctx, renewed); return err }, func() {
			_, _, err := cache.Authenticate(ctx, renewed)
			wantError(t, "after Renew", err, sessioncache.ErrSuperseded)
		}},
		{"Revoke", func() error { return cache.Revoke(ctx, revoked) }, func() { wantOpensNone(t, cache, revoked) }},
		{"Retire", func() error { return second(cache.Retire(ctx, visitors)) }, func() {
			_, _, err := cache.Authenticate(ctx, visitors)
			wantError(t, "after Retire", err, sessioncache.ErrSuperseded)
		}},
		{"DeleteSession", func() error { return second(cache.DeleteSession(ctx, deleted.Handle())) }, func() { wantOpensNone(t, cache, deleted) }},
	} {
		if _, _, err := cache.Get(ctx, id); err != nil { // a connection is there
			t.Fatal(err)
		}
		network.statements.Store(0)
		network.losing.Store(1)
		wantError(t, write.name, write.do(), sessioncache.ErrUnavailable)
		network.losing.Store(0)
		if n := network.statements.Load(); n != 1 {
			t.Errorf("%s: %d statements; want 1", write.name, n)
		}
		write.happened()
	}
	wantUser(t, cache, id, string(userOf(me)))
}

// TestRetriesEnd checks that a read whose connections all break says so in the
// end.
func TestRetriesEnd(t *testing.T) {
	t.Parallel()
	var network lossy
	cache := sessioncache.New[raw](sessiontest.NewPool(t, network.configure))
	id := set(t, cache, raw(`{}`))
	network.losing.Store(1 << 60)
	_, _, err := cache.Get(t.Context(), id)
	wantError(t, "Get", err, sessioncache.ErrUnavailable)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, _, err = cache.Get(ctx, id)
	wantError(t, "Get", err, sessioncache.ErrUnavailable)
	network.losing.Store(0)
	wantUser(t, cache, id, `{}`)
}

// TestSerializationFailuresAreRunAgain has many callers change a few sessions at once on
// connections where every statement is serializable: the server ends some of their
// statements, and no caller notices.
func TestSerializationFailuresAreRunAgain(t *testing.T) {
	suite.Require(t, suite.OwnTable)
	t.Parallel()
	var failures atomic.Int64
	pool := sessiontest.NewPool(t, func(c *pgxpool.Config) {
		c.MaxConns = 8
		c.ConnConfig.RuntimeParams["default_transaction_isolation"] = "serializable"
		c.ConnConfig.Tracer = &failureCounter{code: "40001", failures: &failures}
	})
	cache := sessioncache.New[counter](pool)
	ctx := t.Context()
	const callers, rounds = 8, 50
	var updates atomic.Int64
	id, token := set(t, cache, counter{}), issue(t, cache, counter{})
	for range rounds {
		contested, absent := issue(t, cache, counter{}), newID()
		var renewals, sets atomic.Int64
		var all sync.WaitGroup
		call := func(do func() error) {
			all.Go(func() {
				if err := do(); err != nil {
					t.Error(err)
				}
			})
		}
		for range callers {
			call(func() error {
				ok, err := cache.Update(ctx, id, increment)
				if ok {
					updates.Add(1)
				}
				return err
			})
			call(func() error { return second(cache.UpdateSession(ctx, token, increment)) })
			call(func() error {
				err := cache.Set(ctx, absent, counter{})
				if errors.Is(err, sessioncache.ErrConflict) {
					return nil
				}
				sets.Add(1)
				return err
			})
			call(func() error { return cache.Delete(ctx, absent) })
			call(func() error { // an id of its own
				own := newID()
				return errors.Join(cache.Set(ctx, own, counter{}), cache.Delete(ctx, own))
			})
			call(func() error {
				_, ok, err := cache.Renew(ctx, contested)
				if errors.Is(err, sessioncache.ErrSuperseded) {
					return nil
				}
				if ok {
					renewals.Add(1)
				}
				return err
			})
		}
		all.Wait()
		if renewals.Load() != 1 || sets.Load() < 1 {
			t.Errorf("%d renewals of one token and %d Sets of one id succeeded; want one and some", renewals.Load(), sets.Load())
		}
		if err := cache.Revoke(ctx, contested); err != nil {
			t.Error(err)
		}
	}
	user, _, err := cache.Get(ctx, id)
	if err != nil || updates.Load() != callers*rounds || user.N != callers*rounds {
		t.Errorf("%d Updates succeeded and %d are stored, %v; want %d", updates.Load(), user.N, err, callers*rounds)
	}
	session, _, err := cache.Authenticate(ctx, token)
	if err != nil || session.User.N != callers*rounds {
		t.Errorf("%d UpdateSessions are stored, %v; want %d", session.User.N, err, callers*rounds)
	}
	// Citus sends a statement on one shard without a transaction, so it runs at the worker's
	// own isolation level, and need not fail.
	if failures.Load() == 0 && suite.Has(t, suite.Undistributed) {
		t.Error("no statement failed: the test shows nothing")
	}
	t.Logf("%d serialization failures", failures.Load())
}

// failureCounter is a tracer that counts the statements that end with one code.
type failureCounter struct {
	code     string
	failures *atomic.Int64
}

func (*failureCounter) TraceQueryStart(ctx context.Context, _ *pgx.Conn, _ pgx.TraceQueryStartData) context.Context {
	return ctx
}

func (c *failureCounter) TraceQueryEnd(_ context.Context, _ *pgx.Conn, data pgx.TraceQueryEndData) {
	if pgErr, ok := errors.AsType[*pgconn.PgError](data.Err); ok && pgErr.Code == c.code {
		c.failures.Add(1)
	}
}

// TestReadOnlyAndBack: a database that was read-only for a moment leaves connections that
// stay so. Each call closes those that it meets, and the pool heals.
func TestReadOnlyAndBack(t *testing.T) {
	suite.Require(t, suite.OwnTable)
	t.Parallel()
	const conns = 8
	var readOnly atomic.Bool
	pool := sessiontest.NewPool(t, func(c *pgxpool.Config) {
		c.MaxConns = conns
		c.AfterConnect = func(ctx context.Context, conn *pgx.Conn) error {
			_, err := conn.Exec(ctx, fmt.Sprintf("SET default_transaction_read_only = %t", readOnly.Load()))
			return err
		}
	})
	cache := sessioncache.New[raw](pool, sessioncache.WithIdleTimeout(idleTimeout))
	me := newID()
	token := issue(t, cache, userOf(me))
	for name, write := range map[string]func() error{
		"Issue":          func() error { return second(cache.Issue(t.Context(), userOf(me))) },
		"Issue, limited": func() error { return second(cache.Issue(t.Context(), userOf(me), sessioncache.MaxSessions(1000))) },
		"Update":         func() error { return second(cache.UpdateSession(t.Context(), token, func(*raw) error { return nil })) },
		"Tx": func() error {
			return cache.Tx(t.Context(), func(_ pgx.Tx, cache *sessioncache.Cache[raw]) error {
				return second(cache.Issue(t.Context(), userOf(me)))
			})
		},
	} {
		pool.Reset()
		readOnly.Store(true)
		var held []*pgxpool.Conn
		for range conns {
			conn, err := pool.Acquire(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			held = append(held, conn)
		}
		for _, conn := range held {
			conn.Release()
		}
		readOnly.Store(false)
		failed := 0
		for range 5 * conns {
			if err := write(); err != nil {
				wantError(t, name, err, sessioncache.ErrUnavailable)
				failed++
			}
		}
		if failed > conns {
			t.Errorf("%s: %d calls failed; want at most one for each of %d connections", name, failed, conns)
		}
		if err := write(); err != nil {
			t.Errorf("%s, after that: %v", name, err)
		}
	}

	// A pool of a standby keeps its connections, although no use can extend a session.
	sessiontest.Elapse(t, pool, token.Handle(), idleTimeout/2)
	pool.Reset()
	readOnly.Store(true)
	before := pool.Stat().NewConnsCount()
	for range 20 {
		wantOpens(t, cache, token, string(userOf(me)))
	}
	if opened := pool.Stat().NewConnsCount() - before; opened > conns {
		t.Errorf("20 lookups have opened %d connections", opened)
	}
}
