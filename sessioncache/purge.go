package sessioncache

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/rhaptos/sessiondb/db"
)

const (
	// purgeBatch is how many rows one statement of Purge deletes. It takes milliseconds.
	purgeBatch = 1000

	// After a batch, Purge pauses for pauseFactor times as long as the batch took, at most
	// for longestPause. With a factor of one, two purgers took a whole CPU.
	pauseFactor  = 3
	longestPause = time.Second

	// purgeOverrun is how much longer than its budget a purge may take.
	purgeOverrun = 500 * time.Millisecond
)

// PurgeOption changes one [Cache.Purge].
type PurgeOption func(*purge)

// Progress is how far a purge has come.
type Progress struct {
	Rows    int64 // removed so far
	Batches int   // statements so far

	// OldestExpired is how long ago the oldest remaining expired session expired. It is
	// zero if none remains.
	OldestExpired time.Duration
}

// WithBudget ends a purge after d, without an error; the next purge does the rest. The
// statement that is under way then may take half a second longer. However small d is, a
// purge tries one batch. WithBudget panics if d is not positive.
//
// Default: only the context limits a purge.
func WithBudget(d time.Duration) PurgeOption {
	if d <= 0 {
		panic(fmt.Sprintf("sessioncache: WithBudget: %s is not a valid time", d))
	}
	return func(p *purge) { p.budget = d }
}

// WithProgress has report called after each batch, which costs one more
// query a batch. It panics if the function is nil.
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

// Purge removes expired sessions from the table, oldest first, and returns how many. It
// frees disk space. An expired session gives no access, purged or not; [Cache.Session] finds
// it until it is purged.
//
// Purge removes a thousand rows at a time. After each batch it pauses for three times
// as long as the batch took: it slows down on a busy server. Any number of processes
// may purge at once, in parallel except on Citus.
//
// Outside a transaction each batch commits by itself, and stays done when Purge ends
// with an error.
func (s *store) Purge(ctx context.Context, options ...PurgeOption) (n int64, err error) {
	p := purge{start: time.Now()}
	for _, option := range options {
		option(&p)
	}
	limited := ctx
	if p.budget > 0 { // ends a statement that waits for a lock or a slow disk
		var cancel context.CancelFunc
		limited, cancel = context.WithTimeout(ctx, p.budget+purgeOverrun)
		defer cancel()
	}
	n, err = s.purgeSessions(limited, &p)
	if limited.Err() != nil && ctx.Err() == nil { // the budget is spent
		return n, nil
	}
	return n, interpret("purge", err)
}

// run runs at least one batch, and more, with pauses, until there is nothing left or
// the budget is spent.
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

func (s *store) purgeSessions(ctx context.Context, p *purge) (n int64, err error) {
	var progress Progress
	err = p.run(ctx, func() (more bool, err error) {
		purged, err := s.purgeBatch(ctx)
		progress.Rows += purged
		if err != nil {
			return false, err
		}
		progress.Batches++
		return purged == purgeBatch, s.reportTo(ctx, p.report, &progress)
	})
	if err == nil {
		s.logCount(ctx, "expired sessions purged", progress.Rows)
	}
	return progress.Rows, err
}

// purgeBatch removes a batch of expired sessions. If the server refuses to lock rows in
// a query, as Citus does, it uses a statement without locks from then on.
func (s *store) purgeBatch(ctx context.Context) (int64, error) {
	_, inTx := s.db.(pgx.Tx) // an error aborts it
	if !s.shared.noRowLocks.Load() {
		purged, err := retryWrite(ctx, s, func(ctx context.Context, queries *db.Queries) (int64, error) {
			return queries.DeleteExpiredSessions(ctx, purgeBatch)
		})
		if !hasCode(err, featureNotSupported) || inTx {
			return purged, err
		}
		s.shared.noRowLocks.Store(true)
	}
	purged, err := retryWrite(ctx, s, func(ctx context.Context, queries *db.Queries) (int64, error) {
		return queries.DeleteExpiredSessionsUnlocked(ctx, purgeBatch)
	})
	if rolledBack(err) && !inTx {
		return 0, nil // another purge is at work
	}
	return purged, err
}

func (s *store) reportTo(ctx context.Context, report func(Progress), progress *Progress) error {
	if report == nil {
		return nil
	}
	oldest, err := retryRead(ctx, s, func(ctx context.Context, queries *db.Queries) (int64, error) {
		return queries.GetOldestExpired(ctx)
	})
	if err != nil {
		return err
	}
	progress.OldestExpired = duration(oldest)
	report(*progress)
	return nil
}
