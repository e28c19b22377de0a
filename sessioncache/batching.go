package sessioncache

import (
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/rhaptos/sessiondb/sessioncache/internal/coalesce"
	"github.com/rhaptos/sessiondb/sid"
)

const (
	// batchLimit is the largest batch. Far from the server, a thousand callers need large
	// batches; for a few callers the limit does not matter.
	batchLimit = 256

	// largestBatched is the longest dict, in bytes, that is stored in a batch. Together
	// with batchLimit it keeps a batch under 4 MB.
	largestBatched = 16 << 10
)

// batch sets a Cache on a pool up to answer lookups in batches of one SELECT, and Sets
// in batches of one INSERT. One connection of the pool stays free for calls that are
// not batched and for the application.
func (c *Cache[T]) batch(pool *pgxpool.Pool) {
	slots := coalesce.NewSlots(int(pool.Config().MaxConns)-1, pool.Ping)
	c.gets = &coalesce.Group[sid.ID, *row]{Limit: batchLimit, Single: c.lookUpSingle, Batch: c.lookUpBatch}
	c.gets.Share(slots)
	c.sets = &coalesce.Group[insertion, bool]{Limit: batchLimit, Single: c.insertSingle, Batch: c.insertBatch}
	c.sets.Share(slots)
}
