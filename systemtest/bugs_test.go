package systemtest

import (
	"context"
	"encoding/json"
	"errors"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/rhaptos/sessiondb/sessioncache"
)

// TestCheckerFindsBugs puts a bug into the store, and expects the checker to find
// it in what the clients see: a checker that finds nothing proves nothing.
func TestCheckerFindsBugs(t *testing.T) {
	t.Parallel()
	for name, bug := range map[string]struct {
		fault string
		store func(store store, pool *pgxpool.Pool) store
	}{
		"a stale read":                   {"no fault", func(s store, _ *pgxpool.Pool) store { return &staleReads{store: s} }},
		"another caller's answer":        {"no fault", func(s store, _ *pgxpool.Pool) store { return &mixedUpBatch{store: s} }},
		"an Update that revives":         {"no fault", func(s store, p *pgxpool.Pool) store { return revivingUpdate{s, p} }},
		"an Update without a lock":       {"no fault", func(s store, p *pgxpool.Pool) store { return unlockedUpdate{s, p} }},
		"a conflict that lets one in":    {"no fault", func(s store, _ *pgxpool.Pool) store { return overwritingSet{s} }},
		"a logout that is not done":      {"no fault", func(s store, _ *pgxpool.Pool) store { return lazyDelete{s} }},
		"unavailable taken for no login": {"kill -9", func(s store, _ *pgxpool.Pool) store { return falseLogout{s} }},
		"a failed Set taken for stored":  {"backends killed", func(s store, _ *pgxpool.Pool) store { return hopefulSet{s} }},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			findBug(t, model, faults[bug.fault](t), plainSessions(func(pool *pgxpool.Pool) store {
				return bug.store(sessioncache.New[json.RawMessage](pool), pool)
			}))
		})
	}
}

// findBug records histories until the checker refuses one.
func findBug(t *testing.T, model porcupine.Model, env environment, start func(pools [servers]*pgxpool.Pool) workload) {
	t.Helper()
	const most = 30 // histories: it may take some luck
	for range most {
		history := record(t, env, start, &row{})
		if porcupine.CheckOperationsTimeout(model, history, undecided) == porcupine.Illegal {
			return
		}
	}
	t.Errorf("%d histories, and the checker has found nothing", most)
}

// staleReads answers from memory for a while.
type staleReads struct {
	store
	mu    sync.Mutex
	known map[string]remembered
}

type remembered struct {
	user json.RawMessage
	ok   bool
	at   time.Time
}

func (s *staleReads) Get(ctx context.Context, id string) (json.RawMessage, bool, error) {
	s.mu.Lock()
	r, known := s.known[id]
	s.mu.Unlock()
	if known && time.Since(r.at) < 20*time.Millisecond {
		return r.user, r.ok, nil
	}
	user, ok, err := s.store.Get(ctx, id)
	if err == nil {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.known == nil {
			s.known = map[string]remembered{}
		}
		s.known[id] = remembered{user, ok, time.Now()}
	}
	return user, ok, err
}

// mixedUpBatch mixes up two callers now and then.
type mixedUpBatch struct {
	store
	mu   sync.Mutex
	last string
}

func (s *mixedUpBatch) Get(ctx context.Context, id string) (json.RawMessage, bool, error) {
	s.mu.Lock()
	other := s.last
	s.last = id
	s.mu.Unlock()
	if other != "" && rand.IntN(50) == 0 {
		id = other
	}
	return s.store.Get(ctx, id)
}

// revivingUpdate does not look whether the session is still there.
type revivingUpdate struct {
	store
	pool *pgxpool.Pool
}

func (s revivingUpdate) Update(ctx context.Context, id string, change func(*json.RawMessage) error, _ ...sessioncache.UpdateOption) (bool, error) {
	user, ok, err := s.Get(ctx, id)
	if err != nil || !ok {
		return false, err
	}
	if err := change(&user); err != nil {
		return false, err
	}
	_, err = s.pool.Exec(ctx, `
		INSERT INTO session_cache (sessionid, userdict, session_startutc, session_endutc, session_deadlineutc)
		VALUES ($1, $2, now(), now() + interval '1 hour', now() + interval '1 hour')
		ON CONFLICT (sessionid) DO UPDATE SET userdict = excluded.userdict`, id, string(user))
	return err == nil, err
}

// unlockedUpdate reads and writes without a lock in between.
type unlockedUpdate struct {
	store
	pool *pgxpool.Pool
}

func (s unlockedUpdate) Update(ctx context.Context, id string, change func(*json.RawMessage) error, _ ...sessioncache.UpdateOption) (bool, error) {
	user, ok, err := s.Get(ctx, id)
	if err != nil || !ok {
		return false, err
	}
	if err := change(&user); err != nil {
		return false, err
	}
	tag, err := s.pool.Exec(ctx, "UPDATE session_cache SET userdict = $2 WHERE sessionid = $1", id, string(user))
	return tag.RowsAffected() > 0, err
}

// overwritingSet lets the second of two users in.
type overwritingSet struct{ store }

func (s overwritingSet) Set(ctx context.Context, id string, user json.RawMessage) error {
	err := s.store.Set(ctx, id, user)
	if errors.Is(err, sessioncache.ErrConflict) {
		return s.store.Set(ctx, id, user)
	}
	return err
}

// lazyDelete forgets some logouts.
type lazyDelete struct{ store }

func (s lazyDelete) Delete(ctx context.Context, id string) error {
	if rand.IntN(10) == 0 {
		return nil
	}
	return s.store.Delete(ctx, id)
}

// falseLogout takes an error for an absent session.
type falseLogout struct{ store }

func (s falseLogout) Get(ctx context.Context, id string) (user json.RawMessage, ok bool, err error) {
	err = ignoreUnavailable(ctx, func(ctx context.Context) (err error) {
		user, ok, err = s.store.Get(ctx, id)
		return err
	})
	return user, ok, err
}

// ignoreUnavailable gives a call little time, and takes its failure for a success.
func ignoreUnavailable(ctx context.Context, call func(ctx context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, time.Millisecond)
	defer cancel()
	if err := call(ctx); !errors.Is(err, sessioncache.ErrUnavailable) {
		return err
	}
	return nil
}

// hopefulSet takes an error for a session that is stored.
type hopefulSet struct{ store }

func (s hopefulSet) Set(ctx context.Context, id string, user json.RawMessage) error {
	return ignoreUnavailable(ctx, func(ctx context.Context) error { return s.store.Set(ctx, id, user) })
}
