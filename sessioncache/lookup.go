package sessioncache

import (
	"bytes"
	"cmp"
	"context"
	"slices"

	"github.com/rhaptos/sessiondb/db"
	"github.com/rhaptos/sessiondb/sessioncache/internal/coalesce"
	"github.com/rhaptos/sessiondb/sessioncache/internal/nearcache"
	"github.com/rhaptos/sessiondb/sid"
)

// lookUp finds a session, in a batch if there is no free slot. It returns nil if there
// is none.
func (c *Cache[T]) lookUp(ctx context.Context, id sid.ID) (*row, error) {
	if c.gets == nil {
		return c.lookUpSingle(ctx, id)
	}
	return c.gets.Do(ctx, id)
}

func (c *Cache[T]) lookUpSingle(ctx context.Context, id sid.ID) (*row, error) {
	sent := c.near.begin()
	stored, err := retryRead(ctx, c, func(ctx context.Context, queries *db.Queries) (db.GetSessionRow, error) {
		return queries.GetSession(ctx, db.GetSessionParams{SessionID: id, Audience: c.config.audience})
	})
	if ok, err := found(err); !ok {
		return nil, err
	}
	r, err := newRow(stored, sent)
	return &r, err
}

// lookUpBatch finds the sessions of several callers.
func (c *Cache[T]) lookUpBatch(ctx context.Context, calls []coalesce.Call[sid.ID, *row]) {
	c.shared.metrics.getBatches.add(len(calls))
	ids := make(sid.IDs, len(calls))
	for i := range calls {
		ids[i] = calls[i].Key
	}
	rows, err := c.lookUpAll(ctx, ids)
	for i := range calls {
		if calls[i].Err = err; err == nil {
			calls[i].Value = rows[i]
		}
	}
}

// lookUpAll finds several sessions. rows[i] is the session of ids[i], or nil if there
// is none. An id that occurs several times is looked up once.
func (c *Cache[T]) lookUpAll(ctx context.Context, ids sid.IDs) (rows []*row, err error) {
	order := ascending(ids)
	distinct := make(sid.IDs, 0, len(ids))
	for _, i := range order {
		if last := len(distinct) - 1; last < 0 || distinct[last] != ids[i] {
			distinct = append(distinct, ids[i])
		}
	}
	sent := c.near.begin()
	result, err := retryRead(ctx, c, func(ctx context.Context, queries *db.Queries) ([]db.GetSessionsRow, error) {
		return queries.GetSessions(ctx, db.GetSessionsParams{SessionIDs: distinct, Audience: c.config.audience})
	})
	if err != nil {
		return nil, err
	}
	return scatter(ids, order, result, sent)
}

// ascending returns the indexes of ids in ascending order of the ids, and of equal ids
// in ascending order of the index.
func ascending(ids sid.IDs) []int {
	order := make([]int, len(ids))
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(a, b int) int { return cmp.Or(ids[a].Compare(ids[b]), cmp.Compare(a, b)) })
	return order
}

// scatter gives each id its row, or nil. order and result are in ascending order of
// ids. If several ids share a row, each gets a dict of its own, because a T of
// RawMessage is the dict itself.
func scatter(ids sid.IDs, order []int, result []db.GetSessionsRow, sent nearcache.Instant) (rows []*row, err error) {
	rows = make([]*row, len(ids))
	all := make([]row, len(ids))
	for at, i := range order {
		for len(result) > 0 && result[0].SessionID.Compare(ids[i]) < 0 {
			result = result[1:]
		}
		if len(result) == 0 || result[0].SessionID != ids[i] {
			continue
		}
		if all[i], err = newRow(db.GetSessionRow(result[0]), sent); err != nil {
			return nil, err
		}
		rows[i] = &all[i]
		if at > 0 && ids[order[at-1]] == ids[i] {
			rows[i].userDict = bytes.Clone(rows[i].userDict)
		}
	}
	return rows, nil
}
