// Package changefeed reads which sessions have been changed or ended, by whom ever:
// the feed that migration 3 keeps.
//
// A poll returns every change that was committed before the poll began and that the
// last applied poll did not show. That holds whatever the order of commits, because
// a poll is bounded by PostgreSQL's own snapshots and not by a sequence or a clock.
// When a poll cannot promise it (the server has recovered from a crash, say, or a
// trigger was disabled for a while), it says that everything may have changed.
package changefeed

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"

	"github.com/rhaptos/sessiondb/db"
	"github.com/rhaptos/sessiondb/sessioncache/sid"
)

// ErrTurnedOff is returned by Poll once near caches have been turned off, or are being
// drained. A Feed that had been in use by then returns it from then on; another one
// uses near caches again as soon as they are off.
var ErrTurnedOff = errors.New("near caches have been turned off")

// errUnsettled is the error of a poll that found the feed not set up time and again.
var errUnsettled = errors.New("the change feed was reset during every attempt to poll it")

// attempts is how often a poll asks until it finds an epoch and near caches in use:
// once for each, once more, and one for who resets them meanwhile.
const attempts = 4

// Feed reads the changes of session_cache in the order in which readers may rely on:
// it is a cursor. It is not safe for concurrent use.
type Feed struct {
	queries *db.Queries

	based bool     // base is set
	base  snapshot // of the last applied poll

	used      bool // this Feed has found near caches in use
	turnedOff bool // and then turned off
	missing   bool // the last poll has found no feed
}

// New returns a Feed whose first poll is a reset. The queries run on a pool or on a
// connection, never on a transaction, which may hide what was committed since it began.
func New(queries *db.Queries) *Feed {
	return &Feed{queries: queries}
}

// Identity is what has to be the same in two polls for the second to return every
// change since the first.
type Identity struct {
	Epoch       sid.ID // of the time since the server last recovered from a crash or was promoted
	ServerStart int64  // microseconds since 1970
	Objects     string // the versions of the tables, the triggers and their functions
	Generation  sid.ID // of the time since near caches were last turned on
}

// Poll is an answer of the feed.
type Poll struct {
	Identity Identity

	// ServerStart is when the server was started, in microseconds since 1970.
	ServerStart int64

	// Reset tells that any session may have changed. Changed is empty then.
	Reset bool

	// Changed are the sessions that were changed or ended, some of them more than once.
	Changed sid.IDs

	snapshot snapshot
}

// snapshot tells which transactions a poll has seen, and of which server: those below
// xmax but the ones in xip. All below xmin are over.
type snapshot struct {
	identity   Identity
	xmin, xmax int64
	xip        []int64
}

// Poll returns the changes since the last applied poll. It does not move the cursor: a
// poll that is not applied is repeated by the next one.
//
// It begins an epoch if there is none, and says that near caches are in use if they
// have not been, or, the first time, if they have been turned off. Others do so, too:
// whoever must know since when a generation has been committed takes the return of the
// first Poll with it in its Identity.
//
// It returns ErrTurnedOff, ErrNoFeed, or the driver's error.
func (f *Feed) Poll(ctx context.Context) (Poll, error) {
	if f.turnedOff {
		return Poll{}, ErrTurnedOff
	}
	if f.missing {
		if has, err := f.queries.HasChangeFeed(ctx); err != nil || !has {
			return Poll{}, cmp.Or(interpret(err), errMissing)
		}
	}
	for range attempts {
		row, err := f.poll(ctx)
		if f.missing = isMissing(err); err != nil {
			return Poll{}, interpret(err)
		}
		ready, err := f.prepare(ctx, row)
		if err != nil {
			return Poll{}, err
		}
		if ready {
			f.used = true
			return f.answer(row), nil
		}
	}
	return Poll{}, errUnsettled
}

// Applied moves the cursor: the caller has applied p, the last one that Poll returned.
func (f *Feed) Applied(p Poll) {
	f.based, f.base = true, p.snapshot
}

func (f *Feed) poll(ctx context.Context) (db.PollChangesRow, error) {
	if !f.based {
		// The changes of transactions that nobody will ever begin: none.
		return f.queries.PollChanges(ctx, db.PollChangesParams{Xmax: math.MaxInt64})
	}
	return f.queries.PollChanges(ctx, db.PollChangesParams{Xmax: f.base.xmax, Xip: f.base.xip})
}

// prepare sets up what a poll needs and row was without. It returns true if row lacks
// nothing, and false for "poll again".
func (f *Feed) prepare(ctx context.Context, row db.PollChangesRow) (ready bool, err error) {
	switch {
	case row.InRecovery:
		return false, fmt.Errorf("%w: the server is a standby", ErrNoFeed)
	case !row.Complete:
		return false, fmt.Errorf("%w: %w", ErrNoFeed, errIncomplete)
	case row.Epoch == sid.ID{}:
		return false, interpret(f.queries.InsertChangeEpoch(ctx))
	}
	switch row.NearCaches {
	case "used":
		return true, nil
	case "draining":
		f.turnedOff = f.used
		return false, ErrTurnedOff
	case "off":
		if f.used {
			f.turnedOff = true
			return false, ErrTurnedOff
		}
	}
	_, err = f.queries.RegisterNearCache(ctx, !f.used)
	return false, interpret(err)
}

func (f *Feed) answer(row db.PollChangesRow) Poll {
	identity := Identity{Epoch: row.Epoch, ServerStart: row.ServerStart, Objects: row.Objects, Generation: row.Generation}
	poll := Poll{
		Identity:    identity,
		ServerStart: row.ServerStart,
		Reset: !f.based ||
			identity != f.base.identity ||
			row.Horizon > f.base.xmin ||
			row.Xmax < f.base.xmax || // somebody has set the whole machine back
			row.Everything,
		snapshot: snapshot{identity: identity, xmin: row.Xmin, xmax: row.Xmax, xip: row.Xip},
	}
	if !poll.Reset {
		poll.Changed = row.SessionIDs
	}
	return poll
}
