package sessioncache

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"slices"

	"github.com/jackc/pgx/v5"

	"github.com/rhaptos/sessiondb/db"
	"github.com/rhaptos/sessiondb/sessioncache/internal/coalesce"
	"github.com/rhaptos/sessiondb/sessioncache/internal/nearcache"
	"github.com/rhaptos/sessiondb/sid"
)

// lookUp finds a session, in a batch if there is no free slot. It returns nil if there
// is none.
func (s *store) lookUp(ctx context.Context, id sid.ID) (*row, error) {
	if s.lookups == nil {
		return s.lookUpSingle(ctx, id)
	}
	ctx, cancel := s.limit(ctx)
	defer cancel()
	return s.lookups.Do(ctx, id)
}

func (s *store) lookUpSingle(ctx context.Context, id sid.ID) (*row, error) {
	sent := s.shared.near.Begin()
	stored, err := retryRead(ctx, s, func(ctx context.Context, queries *db.Queries) (*db.GetSessionRow, error) {
		return queries.GetSession(ctx, db.GetSessionParams{SessionID: id, Audience: s.config.audience})
	})
	if ok, err := found(err); !ok {
		return nil, err
	}
	return &row{stored, sent}, nil
}

// lookUpBatch finds the sessions of several callers.
func (s *store) lookUpBatch(ctx context.Context, calls []coalesce.Call[sid.ID, *row]) {
	s.shared.metrics.getBatches.add(len(calls))
	ids := make(sid.IDs, len(calls))
	for i := range calls {
		ids[i] = calls[i].Key
	}
	rows, err := s.lookUpAll(ctx, ids)
	for i := range calls {
		if calls[i].Err = err; err == nil {
			calls[i].Value = rows[i]
		}
	}
}

// lookUpAll finds several sessions. rows[i] is the session of ids[i], or nil if there
// is none. An id that occurs several times is looked up once.
func (s *store) lookUpAll(ctx context.Context, ids sid.IDs) (rows []*row, err error) {
	order := ascending(ids)
	distinct := make(sid.IDs, 0, len(ids))
	for _, i := range order {
		if last := len(distinct) - 1; last < 0 || distinct[last] != ids[i] {
			distinct = append(distinct, ids[i])
		}
	}
	sent := s.shared.near.Begin()
	result, err := retryRead(ctx, s, func(ctx context.Context, queries *db.Queries) ([]*db.GetSessionsRow, error) {
		return queries.GetSessions(ctx, db.GetSessionsParams{SessionIDs: distinct, Audience: s.config.audience})
	})
	if err != nil {
		return nil, err
	}
	return scatter(ids, order, result, sent), nil
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
// ids. If several ids share a row, each gets JSON of its own, because a T of RawMessage is
// the JSON itself.
func scatter(ids sid.IDs, order []int, result []*db.GetSessionsRow, sent nearcache.Instant) (rows []*row) {
	rows = make([]*row, len(ids))
	all := make([]row, len(ids))
	for at, i := range order {
		for len(result) > 0 && result[0].SessionID.Compare(ids[i]) < 0 {
			result = result[1:]
		}
		if len(result) == 0 || result[0].SessionID != ids[i] {
			continue
		}
		all[i] = row{(*db.GetSessionRow)(result[0]), sent}
		if at > 0 && ids[order[at-1]] == ids[i] {
			own := *all[i].GetSessionRow
			own.UserDict = bytes.Clone(own.UserDict)
			all[i].GetSessionRow = &own
		}
		rows[i] = &all[i]
	}
	return rows
}

// found turns pgx.ErrNoRows into ok == false.
func found(err error) (bool, error) {
	if errors.Is(err, pgx.ErrNoRows) {
		return false, nil
	}
	return err == nil, err
}
