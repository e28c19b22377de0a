package main

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/rhaptos/sessiondb/sessioncache"
	"github.com/rhaptos/sessiondb/sessioncache/sid"
)

// poolSizes are MaxConns of the pools that -only pool compares. pgxpool's default is
// the number of CPUs, and four at least.
var poolSizes = []int{4, 16, 64}

// othersPool is MaxConns of the others' pools there.
const othersPool = 16

// enterPools returns a contender for each size of the pool.
func (pg *postgres) enterPools() []entrance {
	all := []entrance{{pg.url, othersPool, pg.scs}}
	for _, size := range poolSizes {
		all = append(all, entrance{pg.url, size, func(_ context.Context, pool *pgxpool.Pool) (contender, error) {
			cache := sessioncache.New[json.RawMessage](pool)
			return contender{name: fmt.Sprintf("sessioncache, MaxConns %d", size), operations: map[string]operation{
				"get": func(ctx context.Context, i int) error {
					_, ok, err := cache.Get(ctx, pg.stored.at(i))
					return lost(ok, err)
				},
				"set": func(ctx context.Context, i int) error {
					return cache.Set(ctx, sid.New().String(), pg.stored.newUser(i))
				},
			}}, nil
		}})
	}
	return all
}
