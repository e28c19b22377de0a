package sessioncache_test

import (
	"context"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/rhaptos/sessiondb/internal/suite"
	"github.com/rhaptos/sessiondb/sessioncache"
	"github.com/rhaptos/sessiondb/sessioncache/sessiontest"
)

// TestJanitor takes the database away from a janitor, and gives it back.
func TestJanitor(t *testing.T) {
	suite.Require(t, suite.OwnTable)
	t.Parallel()
	database := sessiontest.NewDatabase(t)
	config, err := pgxpool.ParseConfig(database.URL)
	if err != nil {
		t.Fatal(err)
	}
	var network network
	network.configure(config)
	pool, err := pgxpool.NewWithConfig(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	defer pool.Close()
	outside, err := pgx.Connect(t.Context(), database.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = outside.Close(context.WithoutCancel(t.Context())) }()
	var log suite.Log
	cache := sessioncache.New[raw](pool, sessioncache.WithLogger(log.Logger(slog.LevelInfo)))
	clean := func() bool {
		var n int
		if err := outside.QueryRow(t.Context(), "SELECT count(*) FROM session_cache").Scan(&n); err != nil {
			t.Fatal(err)
		}
		return n == 0
	}

	ctx, cancel := context.WithCancel(t.Context())
	var janitors sync.WaitGroup
	for range 3 { // two too many
		janitors.Go(func() { cache.RunJanitor(ctx, 20*time.Millisecond) })
	}
	insertMany(t, outside, 1500, 0)
	suite.Eventually(t, "it purges", clean)

	network.cut(true)
	insertMany(t, outside, 10, 0)
	suite.Eventually(t, "it says that it cannot", func() bool {
		return strings.Contains(log.String(), `level=WARN msg="janitor failed"`)
	})
	network.cut(false)
	suite.Eventually(t, "it purges again", clean)
	cancel()
	janitors.Wait()
}

func TestJanitorOutlivesPanics(t *testing.T) {
	t.Parallel()
	var log suite.Log
	pool := sessiontest.NewPool(t, func(c *pgxpool.Config) {
		c.ConnConfig.Tracer = beforeStatement(func(context.Context, string) context.Context { panic("in the tracer") })
	})
	cache := sessioncache.New[raw](pool, sessioncache.WithLogger(log.Logger(slog.LevelInfo)))
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		cache.RunJanitor(ctx, time.Millisecond)
		close(done)
	}()
	suite.Eventually(t, "two panics are logged", func() bool { return strings.Count(log.String(), "panic: in the tracer") > 1 })
	cancel()
	<-done
}

func TestJanitorMistakePanics(t *testing.T) {
	cache, _ := setup[raw](t)
	suite.WantPanic(t, func() { cache.RunJanitor(t.Context(), 0) })
	suite.WantPanic(t, func() { sessioncache.WithBudget(0) })
	suite.WantPanic(t, func() { sessioncache.WithProgress(nil) })
}
