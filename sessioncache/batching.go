package sessioncache

import (
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/rhaptos/sessiondb/sessioncache/internal/coalesce"
	"github.com/rhaptos/sessiondb/sid"
)

const (
	// batchLimit is the largest batch. Over a slow network, a thousand callers need large
	// batches; for a few callers the limit does not matter.
	batchLimit = 256

	// largestBatched is the longest user JSON, in bytes, that is stored in a batch. Together
	// with batchLimit it keeps a batch under 4 MB.
	largestBatched = 16 << 10
)

// batch sets a store on a pool up to answer lookups in batches of one SELECT, and
// insertions in batches of one INSERT. One connection of the pool stays free for calls that
// are not batched and for the application.
func (s *store) batch(pool *pgxpool.Pool) {
	slots := coalesce.NewSlots(int(pool.Config().MaxConns) - 1)
	s.lookups = &coalesce.Group[sid.ID, *row]{Limit: batchLimit, Single: s.lookUpSingle, Batch: s.lookUpBatch}
	s.lookups.Share(slots)
	s.inserts = &coalesce.Group[insertion, bool]{Limit: batchLimit, Single: s.insertSingle, Batch: s.insertBatch}
	s.inserts.Share(slots)
}
