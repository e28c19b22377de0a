package main

import (
	"context"
	"encoding/json"
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

// near looks sessions up from memory, where a logout on any server counts as soon as
// it has returned.
func (pg *postgres) near(_ context.Context, pool *pgxpool.Pool) (contender, error) {
	all := sessioncache.New[json.RawMessage](pool, sessioncache.WithNearCache(2*hotSessions))
	tenth := sessioncache.New[json.RawMessage](pool, sessioncache.WithNearCache(hotSessions))
	return contender{
		name:       "sessioncache, near cache",
		operations: pg.hotAndZipf(all, tenth),
		statements: func() uint64 { return statements(all.Metrics()) + statements(tenth.Metrics()) },
	}, nil
}

// unaided is what near is compared with.
func (pg *postgres) unaided(_ context.Context, pool *pgxpool.Pool) (contender, error) {
	cache := sessioncache.New[json.RawMessage](pool)
	return contender{
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
			return lost(ok, err)
		},
		"get zipf": func(ctx context.Context, _ int) error {
			_, ok, err := zipfian.Get(ctx, pg.stored.keys[distribution.next()])
			return lost(ok, err)
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

// clientSideCaching is Redis with the client's own cache: the server pushes what has
// changed, and a lookup may show a session that was deleted while the push travels.
func (r redisServer) clientSideCaching(stored sessionSet, clean *cleanups) (contender, error) {
	client, err := rueidis.NewClient(rueidis.ClientOption{InitAddress: []string{r.address}})
	if err != nil {
		return contender{}, err
	}
	clean.add(func() error { client.Close(); return nil })
	return contender{name: "Redis, rueidis with client-side caching", server: r.server, operations: map[string]operation{
		"get hot": func(ctx context.Context, i int) error {
			_, err := client.DoCache(ctx, client.B().Get().Key(stored.hot(i)).Cache(), time.Minute).AsBytes()
			return err
		},
	}}, nil
}
