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

	"github.com/rhaptos/sessiondb/sessioncache"
	"github.com/rhaptos/sessiondb/sessioncache/sessiontest"
)

// TestJanitorWholeTable takes the database away from a janitor, and gives it back.
func TestJanitorWholeTable(t *testing.T) {
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
	var log syncBuffer
	cache := sessioncache.New[raw](pool, sessioncache.WithLogger(slog.New(slog.NewTextHandler(&log, nil))))
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
	addExpired(t, outside, 1500)
	eventually(t, "it purges", clean)

	network.cut(true)
	addExpired(t, outside, 10)
	eventually(t, "it says that it cannot", func() bool {
		return strings.Contains(log.String(), `level=WARN msg="janitor failed"`)
	})
	network.cut(false)
	eventually(t, "it purges again", clean)
	cancel()
	janitors.Wait()
}

func TestJanitorOutlivesPanics(t *testing.T) {
	t.Parallel()
	var log syncBuffer
	pool := sessiontest.NewPool(t, func(c *pgxpool.Config) {
		c.ConnConfig.Tracer = beforeStatement(func(context.Context, string) context.Context { panic("in the tracer") })
	})
	cache := sessioncache.New[raw](pool, sessioncache.WithLogger(slog.New(slog.NewTextHandler(&log, nil))))
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		cache.RunJanitor(ctx, time.Millisecond)
		close(done)
	}()
	eventually(t, "two panics are logged", func() bool { return strings.Count(log.String(), "panic: in the tracer") > 1 })
	cancel()
	<-done
}

func TestJanitorMistakePanics(t *testing.T) {
	cache, _ := setup[raw](t)
	wantPanic(t, func() { cache.RunJanitor(t.Context(), 0) })
	wantPanic(t, func() { sessioncache.WithBudget(0) })
	wantPanic(t, func() { sessioncache.WithProgress(nil) })
}
