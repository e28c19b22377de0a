package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/rhaptos/sessiondb/sessioncache"
)

// Users of page views: each has one every pageEvery, which is pageRequests at random times
// within pageTakes, on one of the servers.
const (
	pageUsers    = 3000
	pageEvery    = 15 * time.Second
	pageRequests = 8
	pageTakes    = 300 * time.Millisecond
	servers      = 3
)

// hot is how many sessions the callers of a far database look up.
const hot = 1000

// cluster is servers that share a database, each with a pool and a Cache of its own.
type cluster struct {
	pools  []*pgxpool.Pool
	caches []*sessioncache.Cache[json.RawMessage]
	users  *atomic.Int64 // who had the last page view
}

// openCluster opens the pools, through a proxy if there is one.
func (b *bench) openCluster(address string, options ...sessioncache.Option) (*cluster, error) {
	c := &cluster{users: new(atomic.Int64)}
	for range servers {
		pool, err := open(b.ctx, b.direct.Config().ConnString(), address)
		if err != nil {
			c.close()
			return nil, err
		}
		c.pools = append(c.pools, pool)
		c.caches = append(c.caches, sessioncache.New[json.RawMessage](pool, options...))
	}
	return c, nil
}

func (c *cluster) close() {
	for _, pool := range c.pools {
		pool.Close()
	}
}

// memory is how many lookups the near caches have answered so far.
func (c *cluster) memory() (hits float64) {
	for _, cache := range c.caches {
		hits += float64(cache.Metrics().NearCache.Hits)
	}
	return hits
}

// pages compares near caches with none under page views: open loop, at times that do not
// depend on how long the answers take.
func (b *bench) pages() error {
	with, without, err := b.clusters("")
	if err != nil {
		return err
	}
	defer with.close()
	defer without.close()
	for _, sticky := range []bool{true, false} {
		err := b.compare(pagesTitle(sticky)+", near caches against none",
			[]string{"answered from memory, %", "lookups of the database, %", "lookup, mean µs", "CPU of the server, µs a page view"},
			func() ([]float64, error) { return b.pageFigures(with, sticky) },
			func() ([]float64, error) { return b.pageFigures(without, sticky) })
		if err != nil {
			return err
		}
	}
	return nil
}

// far compares near caches with none where the database is so far away that an entry
// counts for only a part of the time until its answer is there, or has ended by then.
func (b *bench) far() error {
	with, without, err := b.clusters(b.proxy.Address())
	if err != nil {
		return err
	}
	defer with.close()
	defer without.close()
	for _, delay := range []time.Duration{120 * time.Millisecond, 180 * time.Millisecond, 300 * time.Millisecond} {
		b.proxy.SetDelay(delay)
		figures := []string{"lookup, mean µs"}
		for _, sticky := range []bool{true, false} {
			page := func(c *cluster) side {
				return func() ([]float64, error) {
					took, err := b.pageViews(c, sticky)
					return []float64{took.mean()}, err
				}
			}
			err := b.compare(fmt.Sprintf("%s of delay, %s, near caches against none", delay, pagesTitle(sticky)), figures, page(with), page(without))
			if err != nil {
				return err
			}
		}
		callers := func(c *cluster) side {
			return func() ([]float64, error) {
				get := b.get(c.caches[0])
				took, err := runLoads(b.ctx, max(b.sample, 5*delay), load{64, func(ctx context.Context, i int) error { return get(ctx, i%hot) }})
				return []float64{took[0].mean()}, err
			}
		}
		err := b.compare(fmt.Sprintf("%s of delay, 64 callers of %d sessions, a near cache against none", delay, hot), figures, callers(with), callers(without))
		if err != nil {
			return err
		}
	}
	return nil
}

// clusters opens one with near caches and one without, and all their connections.
func (b *bench) clusters(address string) (with, without *cluster, err error) {
	b.proxy.SetDelay(0)
	with, err = b.openCluster(address, sessioncache.WithNearCache(pageUsers))
	if err != nil {
		return nil, nil, err
	}
	without, err = b.openCluster(address)
	if err != nil {
		with.close()
		return nil, nil, err
	}
	for _, cache := range slices.Concat(with.caches, without.caches) {
		if _, err := runLoads(b.ctx, b.sample/10, load{64, b.get(cache)}); err != nil {
			with.close()
			without.close()
			return nil, nil, err
		}
	}
	return with, without, nil
}

func pagesTitle(sticky bool) string {
	if sticky {
		return "page views, each of one server"
	}
	return "page views, each request of any server"
}

// pageFigures are the figures of one sample of page views.
func (b *bench) pageFigures(c *cluster, sticky bool) ([]float64, error) {
	hits := c.memory()
	cpu, err := b.backendsCPU()
	if err != nil {
		return nil, err
	}
	took, err := b.pageViews(c, sticky)
	if err != nil {
		return nil, err
	}
	after, err := b.backendsCPU()
	lookups := float64(len(took))
	hits = 100 * (c.memory() - hits) / lookups
	return []float64{hits, 100 - hits, took.mean(), micros(after-cpu) / lookups * pageRequests}, err
}

// pageViews has page views of one user after the other, for a sample and until all are
// answered.
func (b *bench) pageViews(c *cluster, sticky bool) (latencies, error) {
	var mu sync.Mutex
	var took latencies
	var errs []error
	var all sync.WaitGroup
	view := time.NewTicker(pageEvery / pageUsers)
	defer view.Stop()
	for start := time.Now(); time.Since(start) < b.sample; <-view.C {
		user := int(c.users.Add(1)) % pageUsers
		server := rand.IntN(servers)
		for range pageRequests {
			if !sticky {
				server = rand.IntN(servers)
			}
			get := b.get(c.caches[server])
			all.Go(func() {
				time.Sleep(rand.N(pageTakes))
				start := time.Now()
				err := get(b.ctx, user)
				mine := time.Since(start)
				mu.Lock()
				defer mu.Unlock()
				took, errs = append(took, mine), append(errs, err)
			})
		}
	}
	all.Wait()
	return took, errors.Join(errs...)
}

// backendsCPU is the CPU time that the backends of all connections to the database have
// had so far (schedstat, Linux).
func (b *bench) backendsCPU() (total time.Duration, err error) {
	rows, _ := b.direct.Query(b.ctx, "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND backend_type = 'client backend'")
	backends, err := pgx.CollectRows(rows, pgx.RowTo[int]) // Query's error, too
	if err != nil {
		return 0, err
	}
	for _, backend := range backends {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/schedstat", backend))
		if err != nil {
			return 0, err
		}
		var running time.Duration
		if _, err := fmt.Sscan(string(stat), &running); err != nil {
			return 0, err
		}
		total += running
	}
	return total, nil
}
