package sessioncache

import (
	"context"
	"slices"
	"time"

	"github.com/rhaptos/sessiondb/db"
	"github.com/rhaptos/sessiondb/sessioncache/internal/coalesce"
	"github.com/rhaptos/sessiondb/sessioncache/internal/savepoint"
	"github.com/rhaptos/sessiondb/sid"
)

// insertion is a session to be stored, of either kind.
type insertion struct {
	id             sid.ID
	secret, family []byte // nil: a plain session
	user           string // as JSON
	userID         string // of a session with a token: the user_id in it
	lifetime, idle time.Duration
	anonymous      bool
	remembered     bool
	device         string
}

// insert stores a session, in a batch if there is no free slot. If it returns false
// without an error, the id exists.
func (s *store) insert(ctx context.Context, session insertion) (stored bool, err error) {
	if s.inserts == nil || len(session.user) > largestBatched {
		return s.insertSingle(ctx, session)
	}
	ctx, cancel := s.limit(ctx)
	defer cancel()
	return s.inserts.Do(ctx, session)
}

func (s *store) insertSingle(ctx context.Context, session insertion) (stored bool, err error) {
	s.noteStored()
	rows, err := retryWrite(ctx, s, func(ctx context.Context, queries *db.Queries) (int64, error) {
		return queries.InsertSession(ctx, db.InsertSessionParams{
			SessionID:   session.id,
			Audience:    s.config.audience,
			Secret:      session.secret,
			Family:      session.family,
			UserDict:    session.user,
			Lifetime:    session.lifetime,
			IdleTimeout: session.idle,
			Anonymous:   session.anonymous,
			Remembered:  session.remembered,
			Device:      session.device,
		})
	})
	return rows > 0, err
}

// insertBatch stores the sessions of several callers. If several have one id, the first
// is stored and the others conflict, as they would one by one.
func (s *store) insertBatch(ctx context.Context, calls []coalesce.Call[insertion, bool]) {
	s.shared.metrics.setBatches.add(len(calls))
	ids := make(sid.IDs, len(calls))
	for i := range calls {
		ids[i] = calls[i].Key.id
	}
	// Two batches that have ids in common lock them in ascending order, so that they do
	// not deadlock. Calls whose callers have gone are left out.
	order := slices.DeleteFunc(ascending(ids), func(i int) bool { return calls[i].Err != nil })
	s.insertInOrder(ctx, calls, order)
}

// insertInOrder stores the sessions that order lists. PostgreSQL rejects a whole statement
// for one user; then insertInOrder halves the batch until that session is alone with its
// error.
func (s *store) insertInOrder(ctx context.Context, calls []coalesce.Call[insertion, bool], order []int) {
	if len(order) == 0 {
		return
	}
	stored, err := retryWrite(ctx, s, func(ctx context.Context, queries *db.Queries) ([]sid.ID, error) {
		return queries.InsertSessions(ctx, s.insertParams(calls, order))
	})
	if err != nil && len(order) > 1 && rejected(err) {
		half := len(order) / 2
		s.insertInOrder(ctx, calls, order[:half])
		s.insertInOrder(ctx, calls, order[half:])
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

func (s *store) insertParams(calls []coalesce.Call[insertion, bool], order []int) db.InsertSessionsParams {
	n := len(order)
	params := db.InsertSessionsParams{
		Audience:     s.config.audience,
		SessionIDs:   make(sid.IDs, n),
		Secrets:      make([][]byte, n),
		Families:     make([][]byte, n),
		UserDicts:    make([]string, n),
		Lifetimes:    make([]time.Duration, n),
		IdleTimeouts: make([]time.Duration, n),
		Anonymous:    make([]bool, n),
		Remembered:   make([]bool, n),
		Devices:      make([]string, n),
	}
	for at, i := range order {
		session := &calls[i].Key
		params.SessionIDs[at] = session.id
		params.Secrets[at], params.Families[at] = session.secret, session.family
		params.UserDicts[at] = session.user
		params.Lifetimes[at], params.IdleTimeouts[at] = session.lifetime, session.idle
		params.Anonymous[at], params.Remembered[at], params.Devices[at] = session.anonymous, session.remembered, session.device
	}
	return params
}

// noteStored has the Tx in which a user is stored treat the failure of its commit as one of
// the user.
func (s *store) noteStored() {
	if tx := savepoint.Of(s.db); tx != nil {
		tx.Changes.Stored = true
	}
}
