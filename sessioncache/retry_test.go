package sessioncache_test

import (
	"context"
	"io"
	"net"
	"sync/atomic"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

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
	id := set(t, cache, userOf(me))

	for name, read := range map[string]func() error{
		"Get":          func() error { wantUser(t, cache, id, string(userOf(me))); return nil },
		"Session":      func() error { _, _, err := cache.Session(ctx, id); return err },
		"UserSessions": func() error { wantSessions(t, cache, me, id); return nil },
		"Stats":        func() error { _, err := cache.Stats(ctx); return err },
		"GetAll":       func() error { _, err := cache.GetAll(ctx, id); return err },
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

	other := newID()
	moved := newID()
	for _, write := range []struct {
		name     string
		do       func() error
		happened func()
	}{
		{"Set", func() error { return cache.Set(ctx, other, raw(`{}`)) }, func() { wantUser(t, cache, other, `{}`) }},
		{"Rotate", func() error { return second(cache.Rotate(ctx, other, moved)) }, func() { wantUser(t, cache, moved, `{}`) }},
		{"Delete", func() error { return cache.Delete(ctx, moved) }, func() { wantNone(t, cache, moved) }},
	} {
		if _, err := cache.GetAll(ctx, id); err != nil { // a connection is there
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
