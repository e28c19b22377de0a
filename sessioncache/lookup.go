package sessioncache

import (
	"bytes"
	"context"
	"slices"

	"github.com/rhaptos/sessiondb/db"
	"github.com/rhaptos/sessiondb/sessioncache/sid"
)

// row is what the table says of a session of either kind that has begun. Get and
// Authenticate share the lookup; what a caller may see of the row is for them to
// check.
type row = db.GetSessionRow

// lookUp finds a session, in a batch with others when all connections are busy. It
// returns nil when there is none.
func (c *Cache[T]) lookUp(ctx context.Context, id sid.ID) (*row, error) {
	if c.gets == nil {
		return c.lookUpSingle(ctx, id)
	}
	return c.gets.Do(ctx, id)
}

func (c *Cache[T]) lookUpSingle(ctx context.Context, id sid.ID) (*row, error) {
	r, err := retryRead(ctx, c, func(ctx context.Context, queries *db.Queries) (row, error) {
		return queries.GetSession(ctx, db.GetSessionParams{SessionID: id, Audience: c.config.audience})
	})
	if ok, err := found(err); !ok {
		return nil, err
	}
	return &r, nil
}

// lookUpBatch finds several sessions; one that several callers ask for is looked
// up once.
func (c *Cache[T]) lookUpBatch(ctx context.Context, ids []sid.ID, rows []*row) error {
	distinct := slices.Clone(ids)
	slices.SortFunc(distinct, sid.ID.Compare)
	distinct = slices.Compact(distinct)
	result, err := retryRead(ctx, c, func(ctx context.Context, queries *db.Queries) ([]db.GetSessionsRow, error) {
		return queries.GetSessions(ctx, db.GetSessionsParams{SessionIDs: distinct, Audience: c.config.audience})
	})
	if err != nil {
		return err
	}
	scatter(ids, rows, result, len(distinct) < len(ids))
	return nil
}

// scatter gives to each id its row, or nil. The result is in ascending order of
// ids. Where some share a row, each gets a dict of its own: a T of RawMessage is
// the dict itself.
func scatter(ids []sid.ID, rows []*row, result []db.GetSessionsRow, shared bool) {
	for i, id := range ids {
		at, ok := slices.BinarySearchFunc(result, id, func(r db.GetSessionsRow, id sid.ID) int {
			return r.SessionID.Compare(id)
		})
		switch {
		case !ok:
		case shared:
			r := row(result[at])
			r.UserDict = bytes.Clone(r.UserDict)
			rows[i] = &r
		default:
			rows[i] = (*row)(&result[at])
		}
	}
}
