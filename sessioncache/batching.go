package sessioncache

import (
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/rhaptos/sessiondb/sessioncache/internal/coalesce"
	"github.com/rhaptos/sessiondb/sessioncache/sid"
)

const (
	// batchLimit is how many callers share a statement at most. On the machine of
	// the database 64 would do; half a millisecond away 256 carry two thirds more
	// of a thousand callers, and cost a few callers nothing.
	batchLimit = 256

	// largestBatched is the longest dict, in bytes, that is stored in a batch: a
	// larger one costs the others more than it saves. It keeps a batch under 4 MB.
	largestBatched = 16 << 10
)

// batch makes the callers of a Cache on a pool share statements: lookups one
// SELECT, Sets one INSERT and its commit. Package coalesce decides who shares with
// whom. One connection of the pool is left to the calls that are not batched and to
// the application's own: the fuller batches more than make up for it.
func (c *Cache[T]) batch(pool *pgxpool.Pool) {
	slots := coalesce.NewSlots(int(pool.Config().MaxConns)-1, pool.Ping)
	c.gets = &coalesce.Group[sid.ID, *row]{Limit: batchLimit, Single: c.lookUpSingle, Batch: c.lookUpBatch}
	c.gets.Share(slots)
	c.sets = &coalesce.Group[insertion, bool]{Limit: batchLimit, Single: c.insertSingle, Batch: c.insertBatch}
	c.sets.Share(slots)
}
