package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/rhaptos/sessiondb/sessioncache"
	"github.com/rhaptos/sessiondb/sessioncache/sessiontest"
)

// purge removes many expired sessions, by two purges at once, while callers Get and Set.
// Then it rebuilds the indexes under the same load.
func purge(ctx context.Context, server *sessiontest.Server, o options, page *strings.Builder) error {
	pool, err := newPool(ctx, server)
	if err != nil {
		return err
	}
	defer pool.Close()
	const live = 100_000
	ids, err := storeExpiredAndLive(ctx, pool, o.expired, live)
	if err != nil {
		return err
	}
	cache := sessioncache.New[json.RawMessage](pool)

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
	var purged int64
	start := time.Now()
	during, err := l.measure(func() (err error) {
		purged, err = purgeTwice(ctx, cache)
		return err
	})
	if err != nil {
		return err
	}
	took := time.Since(start)
	after, err := l.measure(func() error { return wait(ctx, 20*time.Second) })
	if err != nil {
		return err
	}
	rebuilding, err := l.measure(func() error { return cache.Reindex(ctx) })
	if err != nil {
		return err
	}
	fmt.Fprintf(page, "\n## Purging, and rebuilding the indexes, under load\n\n%d callers Get and %d Set without a pause; two purges at once remove %d expired "+
		"sessions among %d live ones, in %s. Removed: %d. Calls that failed: %d.\n\n| | Gets a second, relative | p50, relative | p99, relative |\n|---|---|---|---|\n",
		getters, setters, o.expired, live, took.Round(time.Second), purged, l.failed.Load())
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
	if purged != int64(o.expired) {
		return fmt.Errorf("%d sessions were purged; want %d, each once", purged, o.expired)
	}
	return nil
}

// storeExpiredAndLive stores sessions of both kinds, and returns the ids of the live ones.
func storeExpiredAndLive(ctx context.Context, pool *pgxpool.Pool, expired, live int) (ids []string, err error) {
	if err := store(ctx, pool, expired, 2*time.Hour); err != nil {
		return nil, err
	}
	if err := store(ctx, pool, live, 0); err != nil {
		return nil, err
	}
	rows, _ := pool.Query(ctx, "SELECT sessionid::text FROM session_cache WHERE session_endutc > now()")
	return pgx.CollectRows(rows, pgx.RowTo[string]) // Query's error, too
}

// purgeTwice runs two purges at once, and returns how many sessions both have removed.
func purgeTwice(ctx context.Context, cache *cache) (int64, error) {
	var purged [2]int64
	var errs [2]error
	var both sync.WaitGroup
	for i := range 2 {
		both.Go(func() { purged[i], errs[i] = cache.Purge(ctx) })
	}
	both.Wait()
	return purged[0] + purged[1], errors.Join(errs[:]...)
}
