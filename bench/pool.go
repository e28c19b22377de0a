package main

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5/pgxpool"
)

// poolSizes are MaxConns of the pools that -only pool compares. pgxpool's default is
// the number of CPUs, and four at least.
var poolSizes = []int{4, 16, 64}

// othersPool is MaxConns of the others' pools there.
const othersPool = 16

// poolOpeners returns a target for each size of the pool, and one of the others.
func (pg *postgres) poolOpeners() []opener {
	all := []opener{{pg.url, othersPool, pg.scs}}
	for _, size := range poolSizes {
		all = append(all, opener{pg.url, size, func(_ context.Context, pool *pgxpool.Pool) (target, error) {
			return pg.sessioncacheNamed(fmt.Sprintf("sessioncache, MaxConns %d", size), pool)
		}})
	}
	return all
}
