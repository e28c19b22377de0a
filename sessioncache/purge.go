package sessioncache

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

const (
	// purgeBatch is how many rows one statement of Purge deletes: few enough that it
	// is over in milliseconds.
	purgeBatch = 1000

	// Purge waits between two batches for pauses times as long as the last one took,
	// and for longestPause at most. With one, two purgers at once took a whole CPU,
	// and the 99th percentile of Gets went up by 75 %.
	pauses       = 3
	longestPause = time.Second
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
// is for the next one. Zero or less panics.
//
// Default: no limit but the context's.
func WithBudget(d time.Duration) PurgeOption {
	if d <= 0 {
		panic(fmt.Sprintf("sessioncache: WithBudget: %s is no time", d))
	}
	return func(p *purge) { p.budget = d }
}

// WithProgress has report called after each batch. It costs a query a batch more.
// A nil function panics.
func WithProgress(report func(Progress)) PurgeOption {
	if report == nil {
		panic("sessioncache: WithProgress: the function is nil")
	}
	return func(p *purge) { p.report = report }
}

type purge struct {
	budget time.Duration
	report func(Progress)
}

// Purge removes expired sessions from the table, oldest first, and returns how
// many. Nothing but disk space depends on it: Get never returns an expired
// session.
//
// It takes a thousand at a time, and after each batch pauses for three times as
// long as that has taken: the busier the server, the longer. Any number of
// processes may purge at once; none waits for another, but on Citus.
//
// Outside a transaction each batch is one of its own, and those that are done
// stay done when Purge ends with an error.
func (c *Cache[T]) Purge(ctx context.Context, options ...PurgeOption) (n int64, err error) {
	const op = "purge"
	var p purge
	for _, option := range options {
		option(&p)
	}
	progress := Progress{}
	for began := time.Now(); ; {
		batchBegan := time.Now()
		purged, err := c.purgeBatch(ctx)
		progress.Rows += purged
		if err != nil {
			return progress.Rows, interpret(op, err)
		}
		progress.Batches++
		if err := c.reportTo(ctx, p.report, &progress); err != nil {
			return progress.Rows, interpret(op, err)
		}
		pause := min(pauses*time.Since(batchBegan), longestPause)
		if purged < purgeBatch || (p.budget > 0 && time.Since(began)+pause >= p.budget) {
			c.logCount(ctx, "expired sessions purged", progress.Rows)
			return progress.Rows, nil
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return progress.Rows, interpret(op, ctx.Err())
		}
	}
}

// purgeBatch removes a batch of expired sessions. Where the server refuses to lock
// rows (Citus does, across shards) it does without, from then on.
func (c *Cache[T]) purgeBatch(ctx context.Context) (int64, error) {
	if !c.shared.noRowLocks.Load() {
		purged, err := retryUnsent(ctx, c, func(ctx context.Context) (int64, error) {
			return c.queries.DeleteExpiredSessions(ctx, purgeBatch)
		})
		if _, inTx := c.db.(pgx.Tx); !hasCode(err, featureNotSupported) || inTx { // which is over now
			return purged, err
		}
		c.shared.noRowLocks.Store(true)
	}
	purged, err := retryUnsent(ctx, c, func(ctx context.Context) (int64, error) {
		return c.queries.DeleteExpiredSessionsUnlocked(ctx, purgeBatch)
	})
	if hasCode(err, deadlockDetected) {
		return 0, nil // somebody else purges: let them
	}
	return purged, err
}

func (c *Cache[T]) reportTo(ctx context.Context, report func(Progress), progress *Progress) (err error) {
	if report == nil {
		return nil
	}
	progress.OldestExpired, err = retryRead(ctx, c, c.queries.GetOldestExpired)
	if err == nil {
		report(*progress)
	}
	return err
}

func hasCode(err error, code string) bool {
	pgErr, ok := errors.AsType[*pgconn.PgError](err)
	return ok && pgErr.Code == code
}
