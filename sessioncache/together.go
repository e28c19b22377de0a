package sessioncache

import (
	"bytes"
	"context"
	"errors"
	"slices"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/rhaptos/sessiondb/db"
	"github.com/rhaptos/sessiondb/sessioncache/internal/coalesce"
	"github.com/rhaptos/sessiondb/sessioncache/sid"
)

// Callers who would have to wait for a connection share a round trip: Gets one
// SELECT, Sets one INSERT and its commit. Who rides with whom is the business of
// package coalesce; this file says what a ride does.

const (
	// batchLimit is how many callers share a statement at most. On the machine of
	// the database 64 would do; half a millisecond away 256 carry two thirds more
	// of a thousand callers, and cost a few callers nothing.
	batchLimit = 256

	// largestTogether is the longest dict, in bytes, that is stored together with
	// others: a larger one costs them more than it saves. It keeps a batch under
	// 4 MB.
	largestTogether = 16 << 10
)

// rideTogether makes the callers of a Cache on a pool share statements. One
// connection of the pool is left to those that ride with nobody, Delete, Update
// and the application's own: the fuller batches more than make up for it.
func (c *Cache[T]) rideTogether(pool *pgxpool.Pool) {
	slots := max(1, int(pool.Config().MaxConns)-1)
	c.gets = &coalesce.Group[sid.ID, lookup]{
		Slots: slots, Limit: batchLimit, Alone: c.lookUpAlone,
		Together: func(ctx context.Context, ids []sid.ID, sessions []lookup) error {
			c.shared.metrics.batch(len(ids))
			return c.lookUpTogether(ctx, ids, sessions)
		},
	}
	c.sets = &coalesce.Group[insertion, inserted]{
		Slots: slots, Limit: batchLimit, Alone: c.insertAlone,
		Together: func(ctx context.Context, sessions []insertion, results []inserted) error {
			c.shared.metrics.batch(len(sessions))
			return c.insertTogether(ctx, sessions, results)
		},
	}
}

// lookUpTogether finds several sessions; one that several callers ask for is
// looked up once.
func (c *Cache[T]) lookUpTogether(ctx context.Context, ids []sid.ID, sessions []lookup) error {
	distinct := slices.Clone(ids)
	slices.SortFunc(distinct, sid.ID.Compare)
	distinct = slices.Compact(distinct)

	if c.config.idle > 0 {
		return c.lookUpIdleTogether(ctx, ids, distinct, sessions)
	}
	rows, err := retryRead(ctx, c, func(ctx context.Context) ([]db.GetSessionsRow, error) {
		return c.queries.GetSessions(ctx, distinct)
	})
	handOut(ids, distinct, sessions, rows, func(row db.GetSessionsRow) (sid.ID, lookup) {
		return row.SessionID, lookup{live: true, dict: row.UserDict}
	})
	return err
}

// handOut gives to each of ids what was found. The rows are in ascending order of
// their ids.
func handOut[R any](ids, distinct []sid.ID, sessions []lookup, rows []R, read func(R) (sid.ID, lookup)) {
	for i, id := range ids {
		row, live := slices.BinarySearchFunc(rows, id, func(row R, id sid.ID) int {
			rowID, _ := read(row)
			return rowID.Compare(id)
		})
		if !live {
			continue
		}
		_, sessions[i] = read(rows[row])
		if len(distinct) < len(ids) { // some share a row: to each a dict of their own
			sessions[i].dict = bytes.Clone(sessions[i].dict)
		}
	}
}

// insertTogether stores several sessions. Of several with one id the first is
// stored and the others are not: they are in conflict, as they would be alone.
func (c *Cache[T]) insertTogether(ctx context.Context, sessions []insertion, results []inserted) error {
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
		UserDicts:  make([]string, len(order)),
		Duration:   c.config.lifetime(),
	}
	for i, session := range order {
		params.SessionIDs[i], params.UserDicts[i] = sessions[session].id, sessions[session].dict
	}
	stored, err := retryUnsent(ctx, c, func(ctx context.Context) ([]sid.ID, error) {
		return c.queries.InsertSessions(ctx, params)
	})
	if err != nil && len(order) > 1 && errors.Is(kindOf(err), ErrInvalidUser) {
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
