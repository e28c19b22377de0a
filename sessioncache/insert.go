package sessioncache

import (
	"context"
	"slices"

	"github.com/rhaptos/sessiondb/db"
	"github.com/rhaptos/sessiondb/sessioncache/sid"
)

// insertion is a plain session to be stored.
type insertion struct {
	ctx  context.Context // its caller's
	id   sid.ID
	dict string
}

// inserted is the result: when it was not stored and there is no error, the id
// exists.
type inserted struct {
	stored bool
	err    error // this session's alone
}

// insert stores a session, in a batch with others when all connections are busy.
func (c *Cache[T]) insert(ctx context.Context, session insertion) (stored bool, err error) {
	var result inserted
	if c.sets == nil || len(session.dict) > largestBatched {
		result, err = c.insertSingle(ctx, session)
	} else {
		result, err = c.sets.Do(ctx, session)
	}
	if err == nil {
		err = result.err
	}
	return result.stored, err
}

func (c *Cache[T]) insertSingle(ctx context.Context, session insertion) (inserted, error) {
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
	return inserted{stored: rows > 0}, err
}

// insertBatch stores several sessions. Of several with one id the first is stored
// and the others are not: they are in conflict, as they would be one by one.
func (c *Cache[T]) insertBatch(ctx context.Context, sessions []insertion, results []inserted) error {
	// Sorted, so that two batches with ids in common wait for one another in one
	// order, and do not deadlock.
	order := make([]int, 0, len(sessions))
	for i, session := range sessions {
		if err := session.ctx.Err(); err != nil {
			results[i].err = err // its caller has gone, and takes it for not stored
		} else {
			order = append(order, i)
		}
	}
	slices.SortStableFunc(order, func(a, b int) int { return sessions[a].id.Compare(sessions[b].id) })
	c.insertInOrder(ctx, sessions, order, results)
	return nil
}

// insertInOrder stores the sessions that order lists. A dict that PostgreSQL
// rejects takes the whole statement with it, so it halves the batch until that
// session is alone with its error.
func (c *Cache[T]) insertInOrder(ctx context.Context, sessions []insertion, order []int, results []inserted) {
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
	for i, session := range order {
		params.SessionIDs[i], params.UserDicts[i] = sessions[session].id, sessions[session].dict
	}
	stored, err := retryWrite(ctx, c, func(ctx context.Context, queries *db.Queries) ([]sid.ID, error) {
		return queries.InsertSessions(ctx, params)
	})
	if err != nil && len(order) > 1 && rejected(err) {
		half := len(order) / 2
		c.insertInOrder(ctx, sessions, order[:half], results)
		c.insertInOrder(ctx, sessions, order[half:], results)
		return
	}

	slices.SortFunc(stored, sid.ID.Compare)
	for _, session := range order {
		if len(stored) > 0 && stored[0] == sessions[session].id {
			results[session].stored = true
			stored = stored[1:]
		}
		results[session].err = err
	}
}
