package sessioncache

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/rhaptos/sessiondb/db"
)

const (
	// purgeBatch is how many rows one statement of Purge deletes: few enough that it
	// is over in milliseconds.
	purgeBatch = 1000

	// Purge waits between two batches for pauseFactor times as long as the last one took,
	// and for longestPause at most. With one, two purgers at once took a whole CPU,
	// and the 99th percentile of Gets went up by 75 %.
	pauseFactor  = 3
	longestPause = time.Second

	// purgeOverrun is how much longer than its budget a purge may take.
	purgeOverrun = 500 * time.Millisecond
)

// PurgeOption changes how one [Cache.Purge] goes about it.
type PurgeOption func(*purge)

// Progress is how far a purge has come.
type Progress struct {
	Rows    int64 // removed so far
	Batches int   // statements so far

	// OldestExpired is how long ago the oldest expired session that is left has
	// ended, and zero when none is.
	OldestExpired time.Duration
}

// WithBudget ends a purge, without an error, when it has taken this long; the rest
// is for the next one. A batch of sessions and one of changes are removed in any case. A statement that is under way then has half a second more. Zero
// or less panics.
//
// Default: no limit but the context's.
func WithBudget(d time.Duration) PurgeOption {
	if d <= 0 {
		panic(fmt.Sprintf("sessioncache: WithBudget: %s is no time", d))
	}
	return func(p *purge) { p.budget = d }
}

// WithProgress has report called after each batch of sessions. It costs a query a batch
// more.
// A nil function panics.
func WithProgress(report func(Progress)) PurgeOption {
	if report == nil {
		panic("sessioncache: WithProgress: the function is nil")
	}
	return func(p *purge) { p.report = report }
}

type purge struct {
	start  time.Time
	budget time.Duration
	report func(Progress)
}

// Purge removes expired sessions from the table, oldest first, and returns how
// many. Then it removes from the change feed (migration 3) what no near cache needs any
// more. Nothing but disk space depends on it: Get never returns an expired session, and
// a near cache never misses a change.
//
// It takes a thousand at a time, and after each batch pauses for three times as
// long as that has taken: the busier the server, the longer. Any number of
// processes may purge at once. At the sessions none waits for another, but on Citus; at
// the changes they wait for each other's batch.
//
// A role that may not purge the change feed purges the sessions; the log says so once, at
// level Warn.
//
// Outside a transaction each batch is one of its own, and those that are done
// stay done when Purge ends with an error.
func (c *Cache[T]) Purge(ctx context.Context, options ...PurgeOption) (n int64, err error) {
	p := purge{start: time.Now()}
	for _, option := range options {
		option(&p)
	}
	limited := ctx
	if p.budget > 0 { // for a statement that meets a lock, or a slow disk
		var cancel context.CancelFunc
		limited, cancel = context.WithTimeout(ctx, p.budget+purgeOverrun)
		defer cancel()
	}
	n, err = c.purgeSessions(limited, &p)
	if err == nil {
		err = c.purgeFeed(limited, &p)
	}
	if limited.Err() != nil && ctx.Err() == nil { // its time is up
		return n, nil
	}
	return n, interpret("purge", err)
}

// run runs batches, with pauses, until one says that there are no more, or the budget is
// spent. One is run in any case.
func (p *purge) run(ctx context.Context, batch func() (more bool, err error)) error {
	for {
		start := time.Now()
		if more, err := batch(); err != nil || !more {
			return err
		}
		pause := min(pauseFactor*time.Since(start), longestPause)
		if p.budget > 0 && time.Since(p.start)+pause >= p.budget {
			return nil
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (c *Cache[T]) purgeSessions(ctx context.Context, p *purge) (n int64, err error) {
	var progress Progress
	err = p.run(ctx, func() (more bool, err error) {
		purged, err := c.purgeBatch(ctx)
		progress.Rows += purged
		if err != nil {
			return false, err
		}
		progress.Batches++
		return purged == purgeBatch, c.reportTo(ctx, p.report, &progress)
	})
	if err == nil {
		c.logCount(ctx, "expired sessions purged", progress.Rows)
	}
	return progress.Rows, err
}

// purgeBatch removes a batch of expired sessions. Where the server refuses to lock
// rows (Citus does, across shards) it does without, from then on.
func (c *Cache[T]) purgeBatch(ctx context.Context) (int64, error) {
	_, inTx := c.db.(pgx.Tx) // which an error ends
	if !c.shared.noRowLocks.Load() {
		purged, err := retryWrite(ctx, c, func(ctx context.Context, queries *db.Queries) (int64, error) {
			return queries.DeleteExpiredSessions(ctx, purgeBatch)
		})
		if !hasCode(err, featureNotSupported) || inTx {
			return purged, err
		}
		c.shared.noRowLocks.Store(true)
	}
	purged, err := retryWrite(ctx, c, func(ctx context.Context, queries *db.Queries) (int64, error) {
		return queries.DeleteExpiredSessionsUnlocked(ctx, purgeBatch)
	})
	if rolledBack(err) && !inTx {
		return 0, nil // somebody else purges: let them
	}
	return purged, err
}

func (c *Cache[T]) reportTo(ctx context.Context, report func(Progress), progress *Progress) error {
	if report == nil {
		return nil
	}
	oldest, err := retryRead(ctx, c, func(ctx context.Context, queries *db.Queries) (int64, error) {
		return queries.GetOldestExpired(ctx)
	})
	if err != nil {
		return err
	}
	progress.OldestExpired = duration(oldest)
	report(*progress)
	return nil
}

func hasCode(err error, code string) bool {
	pgErr, ok := errors.AsType[*pgconn.PgError](err)
	return ok && pgErr.Code == code
}
