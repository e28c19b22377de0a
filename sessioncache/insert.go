package sessioncache

import (
	"context"
	"slices"

	"github.com/rhaptos/sessiondb/db"
	"github.com/rhaptos/sessiondb/sessioncache/internal/coalesce"
	"github.com/rhaptos/sessiondb/sid"
)

// insertion is a plain session to be stored.
type insertion struct {
	id   sid.ID
	dict string
}

// insert stores a session, in a batch if there is no free slot. If it returns false
// without an error, the id exists.
func (c *Cache[T]) insert(ctx context.Context, session insertion) (stored bool, err error) {
	if c.sets == nil || len(session.dict) > largestBatched {
		return c.insertSingle(ctx, session)
	}
	return c.sets.Do(ctx, session)
}

func (c *Cache[T]) insertSingle(ctx context.Context, session insertion) (stored bool, err error) {
	rows, err := retryWrite(ctx, c, func(ctx context.Context, queries *db.Queries) (int64, error) {
		return queries.InsertSession(ctx, db.InsertSessionParams{
			SessionID: session.id,
			Audience:  c.config.audience,
			UserDict:  session.dict,
			TTL:       c.config.timeouts.ttlMicros(),
			Lifetime:  c.config.timeouts.lifetimeMicros(),
			Idle:      c.config.timeouts.idleMicros(),
		})
	})
	return rows > 0, err
}

// insertBatch stores the sessions of several callers. If several have one id, the first
// is stored and the others conflict, as they would one by one.
func (c *Cache[T]) insertBatch(ctx context.Context, calls []coalesce.Call[insertion, bool]) {
	c.shared.metrics.setBatches.add(len(calls))
	ids := make(sid.IDs, len(calls))
	for i := range calls {
		ids[i] = calls[i].Key.id
	}
	// Two batches that have ids in common lock them in ascending order, so they do not
	// deadlock. Calls whose callers have gone are left out.
	order := slices.DeleteFunc(ascending(ids), func(i int) bool { return calls[i].Err != nil })
	c.insertInOrder(ctx, calls, order)
}

// insertInOrder stores the sessions that order lists. PostgreSQL rejects a whole
// statement for one dict, so insertInOrder then halves the batch until that session is
// alone with its error.
func (c *Cache[T]) insertInOrder(ctx context.Context, calls []coalesce.Call[insertion, bool], order []int) {
	if len(order) == 0 {
		return
	}
	params := db.InsertSessionsParams{
		SessionIDs: make(sid.IDs, len(order)),
		Audience:   c.config.audience,
		UserDicts:  make([]string, len(order)),
		TTL:        c.config.timeouts.ttlMicros(),
		Lifetime:   c.config.timeouts.lifetimeMicros(),
		Idle:       c.config.timeouts.idleMicros(),
	}
	for at, i := range order {
		params.SessionIDs[at], params.UserDicts[at] = calls[i].Key.id, calls[i].Key.dict
	}
	stored, err := retryWrite(ctx, c, func(ctx context.Context, queries *db.Queries) ([]sid.ID, error) {
		return queries.InsertSessions(ctx, params)
	})
	if err != nil && len(order) > 1 && rejected(err) {
		half := len(order) / 2
		c.insertInOrder(ctx, calls, order[:half])
		c.insertInOrder(ctx, calls, order[half:])
		return
	}

	slices.SortFunc(stored, sid.ID.Compare)
	for _, i := range order {
		if len(stored) > 0 && stored[0] == calls[i].Key.id {
			calls[i].Value = true
			stored = stored[1:]
		}
		calls[i].Err = err
	}
}
