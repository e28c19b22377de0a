package main

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/rhaptos/sessiondb/sessioncache"
	"github.com/rhaptos/sessiondb/sessioncache/sessiontest"
)

// purge removes many expired sessions, by two purgers at once, while callers Get
// and Set; then it rebuilds the indexes under them.
func purge(ctx context.Context, server *sessiontest.Server, o options, page *strings.Builder) error {
	pool, err := newPool(ctx, server)
	if err != nil {
		return err
	}
	defer pool.Close()
	if err := store(ctx, pool, o.expired, 2*time.Hour); err != nil {
		return err
	}
	const live = 100_000
	if err := store(ctx, pool, live, 0); err != nil {
		return err
	}
	cache := sessioncache.New[json.RawMessage](pool)
	rows, _ := pool.Query(ctx, "SELECT sessionid::text FROM session_cache WHERE session_endutc > now()")
	ids, err := pgx.CollectRows(rows, pgx.RowTo[string]) // Query's error, too
	if err != nil {
		return err
	}

	const getters, setters = 64, 16
	l := startLoad(ctx, cache, ids, getters, setters)
	defer l.stop()
	if err := wait(ctx, 5*time.Second); err != nil { // to warm up
		return err
	}
	before, err := l.measure(func() error { return wait(ctx, 20*time.Second) })
	if err != nil {
		return err
	}
	var purged atomic.Int64
	began := time.Now()
	during, err := l.measure(func() error {
		var purgers sync.WaitGroup
		failures := make(chan error, 2)
		for range 2 {
			purgers.Go(func() {
				n, err := cache.Purge(ctx)
				purged.Add(n)
				failures <- err
			})
		}
		purgers.Wait()
		close(failures)
		for err := range failures {
			if err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	took := time.Since(began)
	after, err := l.measure(func() error { return wait(ctx, 20*time.Second) })
	if err != nil {
		return err
	}
	rebuilding, err := l.measure(func() error { return cache.Reindex(ctx) })
	if err != nil {
		return err
	}
	fmt.Fprintf(page, "\n## Purging, and rebuilding the indexes, under load\n\n%d callers Get and %d Set without a pause; two purgers at once remove %d expired "+
		"sessions among %d live ones, in %s. Removed: %d. Calls that failed: %d.\n\n| | Gets a second, relative | p50, relative | p99, relative |\n|---|---|---|---|\n",
		getters, setters, o.expired, live, took.Round(time.Second), purged.Load(), l.failed.Load())
	rate := func(m measured, in time.Duration) float64 { return float64(m.n) / in.Seconds() }
	for _, row := range []struct {
		name string
		seen measured
	}{{"before", before}, {"during the purge", during}, {"after", after}, {"during REINDEX CONCURRENTLY", rebuilding}} {
		gets := "–"
		if row.name == "during the purge" {
			gets = fmt.Sprintf("%.2f", rate(row.seen, took)/rate(before, 20*time.Second))
		}
		fmt.Fprintf(page, "| %s | %s | %.2f | %.2f |\n", row.name, gets,
			float64(row.seen.p50)/float64(before.p50), float64(row.seen.p99)/float64(before.p99))
	}
	if purged.Load() != int64(o.expired) {
		return fmt.Errorf("%d sessions were purged; want %d, each once", purged.Load(), o.expired)
	}
	return nil
}
