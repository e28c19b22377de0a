package sessionhttp_test

import (
	"context"
	"log/slog"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/rhaptos/sessiondb/sessioncache"
	"github.com/rhaptos/sessiondb/sessioncache/sessionhttp"
	"github.com/rhaptos/sessiondb/sessioncache/sessiontest"
)

// server is one of several that share a database.
func server(t *testing.T, database *sessiontest.Database, options ...sessioncache.Option) *site {
	t.Helper()
	s := &site{}
	return s.connect(t, database, s, options...)
}

// connect gives a server a pool with a tracer.
func (s *site) connect(t *testing.T, database *sessiontest.Database, tracer pgx.QueryTracer, options ...sessioncache.Option) *site {
	t.Helper()
	config, err := pgxpool.ParseConfig(database.URL)
	if err != nil {
		t.Fatal(err)
	}
	config.ConnConfig.Tracer = tracer
	if s.pool, err = pgxpool.NewWithConfig(t.Context(), config); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.pool.Close)
	logger := slog.New(slog.NewTextHandler(&s.log, nil))
	s.cache = sessioncache.New[account](s.pool, append([]sessioncache.Option{sessioncache.WithLogger(logger)}, options...)...)
	s.sessions = sessionhttp.New(s.cache, sessionhttp.WithLogger(logger), sessionhttp.WithEvents(s.events.record))
	return s
}

// nearServer is one with a near cache that works and keeps what it looks up.
func nearServer(t *testing.T, database *sessiontest.Database) *site {
	t.Helper()
	s := server(t, database, sessioncache.WithNearCache(10_000))
	token := loginTo(t, s.sessions, "", newUser())
	eventually(t, "the near cache keeps a session", func() bool {
		if _, ok, err := userOf(t.Context(), s.sessions, token); !ok || err != nil {
			t.Fatalf("User = %v, %v", ok, err)
		}
		return s.cache.Metrics().NearCache.Hits > 0
	})
	return s
}

// remember has a server keep the session of a token in memory.
func (s *site) remember(ctx context.Context, t *testing.T, token string) {
	t.Helper()
	for range 2 {
		if _, ok, err := userOf(ctx, s.sessions, token); !ok || err != nil {
			t.Errorf("User = %v, %v", ok, err)
		}
	}
}
