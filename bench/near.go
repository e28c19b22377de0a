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

// getHot looks up few of the sessions, again and again.
const getHot = "get hot"

// hotSessions is how many of the sessions "get hot" looks up if nothing else is asked for,
// and how many a near cache has room for in "get zipf".
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
	hot := sessioncache.New[json.RawMessage](pool, sessioncache.WithNearCache(2*hotSessions))
	tenth := sessioncache.New[json.RawMessage](pool, sessioncache.WithNearCache(hotSessions))
	return target{
		name:       "sessioncache, near cache",
		operations: pg.hotAndZipf(hot, tenth),
		keeps:      true,
		statements: func() uint64 { return statements(hot.Metrics()) + statements(tenth.Metrics()) },
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
		getHot: func(ctx context.Context, i int) error {
			_, ok, err := hot.Get(ctx, pg.stored.at(i))
			return requireFound(ok, err)
		},
		"get zipf": func(ctx context.Context, _ int) error {
			_, ok, err := zipfian.Get(ctx, pg.stored.keys[distribution.next()])
			return requireFound(ok, err)
		},
	}
}

// statements is how many statements the Gets of a Cache took.
func statements(m sessioncache.Metrics) uint64 {
	return m.Gets - m.NearCache.Hits - m.BatchedGets + m.GetBatches
}

// among makes do look up one of the first hot sessions.
func (do operation) among(hot int) operation {
	return func(ctx context.Context, i int) error { return do(ctx, i%hot) }
}

// lookUpEach looks each of the hot sessions up once.
func lookUpEach(ctx context.Context, get operation, hot int) error {
	const callers = 64
	errs := make([]error, callers)
	var all sync.WaitGroup
	for caller := range callers {
		all.Go(func() {
			for i := caller; i < hot && errs[caller] == nil; i += callers {
				errs[caller] = get(ctx, i)
			}
		})
	}
	all.Wait()
	return errors.Join(errs...)
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
		_, err := client.DoCache(ctx, client.B().Get().Key(stored.at(i)).Cache(), time.Minute).AsBytes()
		return err
	}
	return target{
		name: "Redis, rueidis with client-side caching", server: r.server,
		operations: map[string]operation{getHot: get},
		keeps:      true,
	}, nil
}
