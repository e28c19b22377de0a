package sessioncache

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/rhaptos/sessiondb/sessioncache/internal/nearcache"
	"github.com/rhaptos/sessiondb/sessioncache/internal/savepoint"
	"github.com/rhaptos/sessiondb/sid"
)

// NearCacheStaleness is 250 ms. A near cache ([WithNearCache]) may show what was before a
// change for at most that time after the change's commit. In a Cache with that option, the
// calls listed here therefore wait for that time before they return. They hold no connection
// meanwhile.
//
// These calls wait, also if they find nothing to change, because somebody else may have made
// the same change a moment ago and still be waiting: Delete, DeleteSession,
// DeleteUserSessions, DeleteAudience, Revoke, RevokeOthers,
// RevokeAll, RevokeSession, Update, UpdateSession, Renew, a Set that returns
// [ErrConflict], and a Tx with one of them. If their context ends meanwhile, they return
// [ErrNotAwaited]; Set still returns ErrConflict.
//
// These do not wait: lookups, Set, Issue, Retire, Update and UpdateSession with [Unawaited],
// and an Authenticate that ends a session. What Issue and Retire promise is about the new
// session; what they replace is gone elsewhere within 200 ms. The Cache that has made a
// change sees it at once.
//
// The constant cannot be set: all servers must agree on it. It is 50 ms longer than an
// entry of a near cache counts.
const NearCacheStaleness = nearcache.Lease + 50*time.Millisecond

// AwaitNearCaches waits for [NearCacheStaleness]: then no near cache on any server shows
// what was before the changes that have been committed. Call it after the commit of your
// own transaction (see [Cache.WithTx]), or after raw SQL. It waits on every Cache, also on one
// without [WithNearCache]. It fails only when ctx ends, with [ErrNotAwaited].
func (s *store) AwaitNearCaches(ctx context.Context) error {
	return awaitNearCaches(ctx)
}

func awaitNearCaches(ctx context.Context) error {
	timer := time.NewTimer(NearCacheStaleness)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("sessioncache: %w: %w", ErrNotAwaited, ctx.Err())
	}
}

// await is called at the end of a change with the result err. It has this Cache's near cache
// forget the sessions (nil means any), and waits for the others. The result is err, or
// ErrNotAwaited.
//
// A change in a transaction has not happened yet: the Tx that began it does both after the
// commit.
func (s *store) await(ctx context.Context, err error, ids ...sid.ID) error {
	if !mayHaveChanged(err) {
		return err
	}
	s.forget(ids)
	if !s.config.awaitsNearCaches || errors.Is(err, ErrUnavailable) {
		return err
	}
	if s.inCallersTx() {
		if tx := savepoint.Of(s.db); tx != nil {
			tx.Changes.Await = true
		}
		return err
	}
	if waited := awaitNearCaches(ctx); err == nil {
		return waited
	}
	return err
}

// forget has this Cache's near cache forget sessions, in a transaction after the commit.
func (s *store) forget(ids []sid.ID) {
	if tx := savepoint.Of(s.db); tx != nil {
		tx.Changes.Forget = append(tx.Changes.Forget, func() { s.mark(ids) })
		return
	}
	s.mark(ids)
}

// mark has the near cache forget sessions; nil means any.
func (s *store) mark(ids []sid.ID) {
	if ids == nil {
		s.shared.near.MarkAll()
	} else {
		s.shared.near.Mark(ids...)
	}
}

// mayHaveChanged reports whether a call with this result has changed a session, or somebody
// else has whose change it may have seen.
func mayHaveChanged(err error) bool {
	return err == nil || errors.Is(err, ErrConflict) || errors.Is(err, ErrSuperseded) || errors.Is(err, ErrUnavailable)
}
