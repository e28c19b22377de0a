package main

import (
	"context"
	"encoding/json"
	"errors"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/redis/rueidis"

	"github.com/rhaptos/sessiondb/sessioncache"
)

// hotSessions is how many of the sessions are looked up by the operation "get hot", and
// how many a near cache has room for in "get zipf".
const hotSessions = 10_000

// zipf picks sessions by a Zipf distribution with exponent 1.1: the first one is asked
// for most, and a tenth of them gets most of the lookups.
type zipf struct{ pools sync.Pool }

func newZipf(sessions int) *zipf {
	z := &zipf{}
	z.pools.New = func() any {
		random := rand.New(rand.NewPCG(rand.Uint64(), rand.Uint64()))
		return rand.NewZipf(random, 1.1, 1, uint64(sessions-1))
	}
	return z
}

func (z *zipf) next() int {
	source := z.pools.Get().(*rand.Zipf)
	defer z.pools.Put(source)
	return int(source.Uint64())
}

// near looks sessions up in a near cache, where a logout on any server counts as soon as
// it has returned.
func (pg *postgres) near(_ context.Context, pool *pgxpool.Pool) (target, error) {
	all := sessioncache.New[json.RawMessage](pool, sessioncache.WithNearCache(2*hotSessions))
	tenth := sessioncache.New[json.RawMessage](pool, sessioncache.WithNearCache(hotSessions))
	operations := pg.hotAndZipf(all, tenth)
	return target{
		name:       "sessioncache, near cache",
		operations: operations,
		fill:       map[string]func(context.Context) error{"get hot": pg.stored.fillHot(operations["get hot"])},
		statements: func() uint64 { return statements(all.Metrics()) + statements(tenth.Metrics()) },
	}, nil
}

// withoutNearCache is what near is compared with.
func (pg *postgres) withoutNearCache(_ context.Context, pool *pgxpool.Pool) (target, error) {
	cache := sessioncache.New[json.RawMessage](pool)
	return target{
		name:       "sessioncache, raw JSON",
		operations: pg.hotAndZipf(cache, cache),
		statements: func() uint64 { return statements(cache.Metrics()) },
	}, nil
}

func (pg *postgres) hotAndZipf(hot, zipfian *sessioncache.Cache[json.RawMessage]) map[string]operation {
	distribution := newZipf(len(pg.stored.keys))
	return map[string]operation{
		"get hot": func(ctx context.Context, i int) error {
			_, ok, err := hot.Get(ctx, pg.stored.hot(i))
			return requireFound(ok, err)
		},
		"get zipf": func(ctx context.Context, _ int) error {
			_, ok, err := zipfian.Get(ctx, pg.stored.keys[distribution.next()])
			return requireFound(ok, err)
		},
	}
}

// statements is how many statements the Gets of a Cache took, polls included.
func statements(m sessioncache.Metrics) uint64 {
	return m.Gets - m.NearCache.Hits - m.BatchedGets + m.GetBatches + m.NearCache.Polls
}

// hot picks one of the first sessions by a random number.
func (s sessionSet) hot(i int) string {
	return s.keys[i%min(hotSessions, len(s.keys))]
}

// fillHot looks each of the hot sessions up once.
func (s sessionSet) fillHot(get operation) func(context.Context) error {
	return func(ctx context.Context) error {
		const callers = 64
		errs := make([]error, callers)
		var all sync.WaitGroup
		for caller := range callers {
			all.Go(func() {
				for i := caller; i < hotSessions && errs[caller] == nil; i += callers {
					errs[caller] = get(ctx, i)
				}
			})
		}
		all.Wait()
		return errors.Join(errs...)
	}
}

// clientSideCaching is Redis with the client's own cache: the server pushes what has
// changed, and a lookup may show a session that was deleted while the push travels.
func (r redisServer) clientSideCaching(stored sessionSet, clean *cleanups) (target, error) {
	client, err := rueidis.NewClient(rueidis.ClientOption{InitAddress: []string{r.address}})
	if err != nil {
		return target{}, err
	}
	clean.add(func() error { client.Close(); return nil })
	get := func(ctx context.Context, i int) error {
		_, err := client.DoCache(ctx, client.B().Get().Key(stored.hot(i)).Cache(), time.Minute).AsBytes()
		return err
	}
	return target{
		name: "Redis, rueidis with client-side caching", server: r.server,
		operations: map[string]operation{"get hot": get},
		fill:       map[string]func(context.Context) error{"get hot": stored.fillHot(get)},
	}, nil
}
