package main

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/rhaptos/sessiondb/sessioncache"
	"github.com/rhaptos/sessiondb/sessioncache/sessiontest"
)

// many compares lookups among many sessions with lookups among few, in turns,
// where both fit into memory.
func many(ctx context.Context, server *sessiontest.Server, o options, page *strings.Builder) error {
	type table struct {
		sessions int
		pool     *pgxpool.Pool
		cache    *cache
		ids      []string
		rates    []float64
		p99s     []time.Duration
	}
	tables := []*table{{sessions: 100_000}, {sessions: o.many}}
	for _, t := range tables {
		var err error
		if t.pool, err = newPool(ctx, server); err != nil {
			return err
		}
		defer t.pool.Close()
		if err := store(ctx, t.pool, t.sessions, 0); err != nil {
			return err
		}
		if t.ids, err = sample(ctx, t.pool, 1_000_000, t.sessions); err != nil {
			return err
		}
		// As on a server that has been up for a while.
		_, err = t.pool.Exec(ctx, "CREATE EXTENSION pg_prewarm; SELECT pg_prewarm('session_cache'), pg_prewarm('session_cache_pkey'); SELECT pg_stat_reset()")
		if err != nil {
			return err
		}
		t.cache = sessioncache.New[json.RawMessage](t.pool)
	}
	const rounds, turn, callers = 8, 3 * time.Second, 256
	for round := range rounds + 1 {
		for _, t := range tables {
			l := startLoad(ctx, t.cache, t.ids, callers, 0)
			seen, err := l.measure(func() error { return wait(ctx, turn) })
			l.stop()
			if err != nil {
				return err
			}
			if l.failed.Load() > 0 {
				return fmt.Errorf("%d Gets failed", l.failed.Load())
			}
			if round > 0 { // the first warms the caches
				t.rates, t.p99s = append(t.rates, float64(seen.n)/turn.Seconds()), append(t.p99s, seen.p99)
			}
		}
	}
	fmt.Fprintf(page, "\n## Lookups among many sessions\n\n%d callers, a pool of 6, %d turns of %s each, alternating. Medians.\n\n"+
		"| sessions | Gets, relative | p99, relative | table | indexes: id, end, user | blocks found in shared buffers |\n|---|---|---|---|---|---|\n", callers, rounds, turn)
	for _, t := range tables {
		slices.Sort(t.rates)
		slices.Sort(t.p99s)
		sizes, err := sizesOf(ctx, t.pool)
		if err != nil {
			return err
		}
		base := tables[0]
		fmt.Fprintf(page, "| %d | %.2f | %.2f | %s | %s | %.1f %% |\n", t.sessions, t.rates[rounds/2]/base.rates[rounds/2],
			float64(t.p99s[rounds/2])/float64(base.p99s[rounds/2]), sizes.table, sizes.indexes, 100*sizes.hits)
	}
	return nil
}

type sizes struct {
	table, indexes string
	hits           float64
}

func sizesOf(ctx context.Context, pool *pgxpool.Pool) (s sizes, err error) {
	err = pool.QueryRow(ctx, `
		SELECT pg_size_pretty(pg_table_size('session_cache')),
		       concat_ws(', ', pg_size_pretty(pg_relation_size('session_cache_pkey')),
		                       pg_size_pretty(pg_relation_size('session_cache_session_endutc_idx')),
		                       pg_size_pretty(pg_relation_size('session_cache_user_id_idx'))),
		       (heap_blks_hit + idx_blks_hit)::float8 / greatest(1, heap_blks_hit + idx_blks_hit + heap_blks_read + idx_blks_read)
		FROM pg_statio_user_tables
		WHERE relname = 'session_cache'`).Scan(&s.table, &s.indexes, &s.hits)
	return s, err
}
