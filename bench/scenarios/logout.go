package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jackc/pgx/v5/stdlib"

	"github.com/rhaptos/sessiondb/schema"
	"github.com/rhaptos/sessiondb/sessioncache"
)

// logout compares the cost of a logout with the change feed and without it. No near cache
// is in use, so no logout waits for one.
func (b *bench) logout() error {
	var sides [2]func(callers int) side
	for i, version := range []int64{3, 2} { // migration 3 adds the feed
		pool, err := b.openVersion(version)
		if err != nil {
			return err
		}
		defer pool.Close()
		cache := sessioncache.New[json.RawMessage](pool)
		sides[i] = func(callers int) side {
			return func() ([]float64, error) { return b.deleteAll(cache, pool, callers) }
		}
		if _, err := sides[i](64)(); err != nil { // opens the connections
			return err
		}
	}
	for _, callers := range []int{1, 16, 64} {
		err := b.compare(fmt.Sprintf("logout with the change feed against without, callers: %d", callers),
			[]string{"Delete, median µs", "Deletes a second"}, sides[0](callers), sides[1](callers))
		if err != nil {
			return err
		}
	}
	return nil
}

// openVersion returns a pool on a new database with this version of the schema.
func (b *bench) openVersion(version int64) (*pgxpool.Pool, error) {
	database, err := b.server.NewDatabase(b.ctx)
	if err != nil {
		return nil, err
	}
	pool, err := open(b.ctx, database.URL, "")
	if err != nil {
		return nil, err
	}
	migrations, err := schema.NewProvider(stdlib.OpenDBFromPool(pool))
	if err == nil {
		_, err = migrations.DownTo(b.ctx, version) // NewDatabase has migrated up
	}
	if err != nil {
		pool.Close()
		return nil, err
	}
	return pool, nil
}

// deleteAll stores sessions and measures how long so many callers take to delete them.
func (b *bench) deleteAll(cache *sessioncache.Cache[json.RawMessage], pool *pgxpool.Pool, callers int) ([]float64, error) {
	ids, err := b.store(pool, b.logouts)
	if err != nil {
		return nil, err
	}
	took, errs := make(latencies, len(ids)), make([]error, callers)
	var next atomic.Int64
	var all sync.WaitGroup
	start := time.Now()
	for caller := range callers {
		all.Go(func() {
			for i := int(next.Add(1)) - 1; i < len(ids) && errs[caller] == nil; i = int(next.Add(1)) - 1 {
				start := time.Now()
				errs[caller] = cache.Delete(b.ctx, ids[i])
				took[i] = time.Since(start)
			}
		})
	}
	all.Wait()
	length := time.Since(start)
	slices.Sort(took)
	return []float64{took.micros(50), took.perSecond(length)}, errors.Join(errs...)
}
