// Package changefeed reads the feed of migration 3: which sessions have been changed or
// ended, by any program.
//
// A poll returns every change that was committed before the poll began and that the
// last applied poll did not show. This holds for any order of commits, because a poll
// is bounded by PostgreSQL's own snapshots, not by a sequence or a clock. If a poll
// cannot be sure, for example after a crash of the server or because a trigger was
// disabled for a while, it says that every session may have changed.
package changefeed

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"

	"github.com/rhaptos/sessiondb/db"
	"github.com/rhaptos/sessiondb/sid"
)

// ErrTurnedOff is returned by Poll when near caches have been turned off or are being
// drained. A Feed that was in use before returns it for ever. A new Feed turns near
// caches on again once they are off.
var ErrTurnedOff = errors.New("near caches have been turned off")

// errUnsettled is the error of a poll that has set the feed up several times and never
// found it ready.
var errUnsettled = errors.New("the change feed was reset during every attempt to poll it")

// attempts is how often a poll asks. Two attempts may find that the epoch or the
// registration is missing; the others are for programs that reset them meanwhile.
const attempts = 4

// Feed is a cursor in the changes of session_cache. It is not safe for concurrent use.
type Feed struct {
	queries *db.Queries

	based bool     // base is set
	base  snapshot // of the last applied poll

	used      bool // this Feed has found near caches in use
	turnedOff bool // and then turned off
	missing   bool // the last poll has found no feed
}

// New returns a Feed whose first poll is a reset. The queries run on a pool or on a
// connection, not in a transaction, whose snapshot may be old.
func New(queries *db.Queries) *Feed {
	return &Feed{queries: queries}
}

// Identity must be equal in two polls, or the second may lack changes since the first.
type Identity struct {
	Epoch       sid.ID // of the time since the server last recovered from a crash or was promoted
	ServerStart int64  // microseconds since 1970
	Objects     string // the versions of the tables, the triggers and their functions
	Generation  sid.ID // of the time since near caches were last turned on
}

// Poll is the result of a poll.
type Poll struct {
	Identity Identity

	// ServerStart is the start of the server, in microseconds since 1970.
	ServerStart int64

	// Reset tells that any session may have changed. Changed is empty then.
	Reset bool

	// Changed are the sessions that were changed or ended. An id may occur several times.
	Changed sid.IDs

	snapshot snapshot
}

// snapshot tells which transactions a poll shows, and of which server: those below
// xmax, except those in xip. All transactions below xmin are over.
type snapshot struct {
	identity   Identity
	xmin, xmax int64
	xip        []int64
}

// Poll returns the changes since the last applied poll. It does not move the cursor: if
// the result is not applied, the next Poll returns it again.
//
// Poll starts an epoch if there is none. It registers near caches if they were unused,
// or, in the Feed's first Poll, if they were turned off. Other processes do so, too. So
// a caller that has to know from when on all changes wait must take the return of the
// first Poll with a new Identity.
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

// Applied moves the cursor: the caller has applied p, the last result of Poll.
func (f *Feed) Applied(p Poll) {
	f.based, f.base = true, p.snapshot
}

func (f *Feed) poll(ctx context.Context) (db.PollChangesRow, error) {
	if !f.based {
		// No transaction has such an id, so there are no changes.
		return f.queries.PollChanges(ctx, db.PollChangesParams{Xmax: math.MaxInt64})
	}
	return f.queries.PollChanges(ctx, db.PollChangesParams{Xmax: f.base.xmax, Xip: f.base.xip})
}

// prepare sets up what row shows to be missing. It returns true if nothing is missing,
// and false if the caller has to poll again.
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
			row.Xmax < f.base.xmax || // the whole machine was set back
			row.Everything,
		snapshot: snapshot{identity: identity, xmin: row.Xmin, xmax: row.Xmax, xip: row.Xip},
	}
	if !poll.Reset {
		poll.Changed = row.SessionIDs
	}
	return poll
}
