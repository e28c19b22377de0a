package main

import (
	"cmp"
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

// callers are from hardly any load to one that leaves no CPU idle.
var callers = []int{1, 16, 64, 256}

// table is one of the tables that are compared.
type table struct {
	sessions int
	pool     *pgxpool.Pool
	cache    *cache
	ids      []string
	rates    map[int][]float64 // by callers
	p99s     map[int][]time.Duration
}

// many compares lookups among many sessions with lookups among few, in alternating
// samples, where both fit into memory.
func many(ctx context.Context, server *sessiontest.Server, o options, page *strings.Builder) error {
	few, many := &table{sessions: 100_000}, &table{sessions: o.many}
	for _, t := range []*table{few, many} {
		var err error
		if t.pool, err = newPool(ctx, server); err != nil {
			return err
		}
		defer t.pool.Close()
		if err := t.fill(ctx); err != nil {
			return err
		}
	}
	const rounds, sample = 8, 2 * time.Second
	for round := range rounds + 1 {
		for _, n := range callers {
			for _, t := range []*table{few, many} {
				keep := round > 0 // the first warms the caches
				if err := t.measure(ctx, n, sample, keep); err != nil {
					return err
				}
			}
		}
	}
	fmt.Fprintf(page, "\n## Lookups among many sessions\n\nLookups of any of %d sessions, relative to lookups of any of %d; a pool of 6, %d samples of %s each, alternating. Medians.\n\n"+
		"| callers | Gets a second, relative | p99, relative |\n|---|---|---|\n", many.sessions, few.sessions, rounds, sample)
	for _, n := range callers {
		fmt.Fprintf(page, "| %d | %.2f | %.2f |\n", n, median(many.rates[n])/median(few.rates[n]),
			float64(median(many.p99s[n]))/float64(median(few.p99s[n])))
	}
	fmt.Fprint(page, "\n| sessions | table | indexes: id, end, user | blocks found in shared buffers |\n|---|---|---|---|\n")
	for _, t := range []*table{few, many} {
		sizes, err := sizesOf(ctx, t.pool)
		if err != nil {
			return err
		}
		fmt.Fprintf(page, "| %d | %s | %s | %.1f %% |\n", t.sessions, sizes.table, sizes.indexes, 100*sizes.hits)
	}
	return nil
}

// fill stores the sessions and loads them into shared buffers, as on a server that has
// been up for a while.
func (t *table) fill(ctx context.Context) (err error) {
	if err := store(ctx, t.pool, t.sessions, 0); err != nil {
		return err
	}
	if t.ids, err = sampleIDs(ctx, t.pool, 1_000_000, t.sessions); err != nil {
		return err
	}
	t.cache = sessioncache.New[json.RawMessage](t.pool)
	t.rates, t.p99s = map[int][]float64{}, map[int][]time.Duration{}
	_, err = t.pool.Exec(ctx, "CREATE EXTENSION pg_prewarm; SELECT pg_prewarm('session_cache'), pg_prewarm('session_cache_pkey'); SELECT pg_stat_reset()")
	return err
}

// measure takes one sample of so many callers.
func (t *table) measure(ctx context.Context, callers int, length time.Duration, keep bool) error {
	l := startLoad(ctx, t.cache, t.ids, callers, 0)
	seen, err := l.measure(func() error { return wait(ctx, length) })
	l.stop()
	if err != nil {
		return err
	}
	if l.failed.Load() > 0 {
		return fmt.Errorf("%d Gets failed", l.failed.Load())
	}
	if keep {
		t.rates[callers] = append(t.rates[callers], float64(seen.n)/length.Seconds())
		t.p99s[callers] = append(t.p99s[callers], seen.p99)
	}
	return nil
}

func median[T cmp.Ordered](figures []T) T {
	return slices.Sorted(slices.Values(figures))[len(figures)/2]
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
