package changefeed_test

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rhaptos/sessiondb/db"
	"github.com/rhaptos/sessiondb/internal/suite"
	"github.com/rhaptos/sessiondb/sessioncache/internal/changefeed"
	"github.com/rhaptos/sessiondb/sessioncache/internal/nearcache"
	"github.com/rhaptos/sessiondb/sid"
)

// The tests here suspend a reader at one point, as SIGSTOP does, while the database goes
// on: a session ends, and the change returns.

// point is a place that a test may hold somebody at.
type point struct {
	armed        atomic.Bool
	reached, out chan struct{}
}

func newPoint() *point {
	return &point{reached: make(chan struct{}), out: make(chan struct{})}
}

// pass holds the first one who passes after the point is armed.
func (p *point) pass() {
	if p.armed.CompareAndSwap(true, false) {
		close(p.reached)
		<-p.out
	}
}

// reader is a near cache of a real feed, with clocks that only a test moves.
type reader struct {
	bundle
	*nearcache.Cache[string]
	id sid.ID

	changes *changefeed.Feed
	last    changefeed.Poll
	applied changefeed.Identity

	mu  sync.Mutex
	now nearcache.Instant

	beforePoll *point // after the poll's start has been read
	afterClock *point // after a clock has been read
}

func (r *reader) Poll(ctx context.Context) (_ nearcache.Changes, err error) {
	r.beforePoll.pass()
	if r.last, err = r.changes.Poll(ctx); err != nil {
		return nearcache.Changes{}, err
	}
	return nearcache.Changes{
		Server: r.last.ServerStart, Reset: r.last.Reset, Quarantine: r.last.Identity != r.applied, Changed: r.last.Changed,
	}, nil
}

func (r *reader) Applied() {
	r.changes.Applied(r.last)
	r.applied = r.last.Identity
}

func (r *reader) instant() nearcache.Instant {
	r.mu.Lock()
	now := r.now
	r.mu.Unlock()
	r.afterClock.pass()
	return now
}

func (r *reader) advance(d time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.now.Mono += int64(d)
	r.now.Wall += int64(d)
}

// newReader returns a reader that keeps one session.
func newReader(t *testing.T) *reader {
	t.Helper()
	b := setup(t)
	r := &reader{
		bundle: b, id: b.insert(t, 1)[0], changes: changefeed.New(db.New(b.pool)),
		now:        nearcache.Instant{Mono: int64(time.Hour), Wall: int64(time.Hour)},
		beforePoll: newPoint(), afterClock: newPoint(),
	}
	r.Cache = nearcache.New[string](nearcache.Config{Entries: 10, Feed: r, Now: r.instant, PollTimeout: time.Minute})
	r.Get(t.Context(), r.id)
	r.polled(t, 1)
	r.advance(2 * nearcache.Quarantine)
	r.Get(t.Context(), r.id)
	r.keep(t, r.Begin())
	if !r.hit(t) {
		t.Fatal("no hit")
	}
	return r
}

// polled waits until polls so many have been applied, and nothing else is under way.
func (r *reader) polled(t *testing.T, n uint64) {
	t.Helper()
	suite.Eventually(t, fmt.Sprintf("%d polls are applied", n), func() bool { return r.Stats().Polls >= n && r.Working() })
}

func (r *reader) keep(t *testing.T, ticket nearcache.Ticket) {
	t.Helper()
	value := "before"
	r.Keep(ticket, r.serverStart(t), false, r.id, &value, time.Hour)
}

func (r *reader) serverStart(t *testing.T) (start int64) {
	t.Helper()
	err := r.pool.QueryRow(t.Context(), "SELECT (date_part('epoch', pg_postmaster_start_time()) * 1000000)::bigint").Scan(&start)
	if err != nil {
		t.Fatal(err)
	}
	return start
}

func (r *reader) hit(t *testing.T) bool {
	t.Helper()
	_, _, ok := r.Get(t.Context(), r.id)
	return ok
}

// end ends the session. By the time it returns, the change has returned, too.
func (r *reader) end(t *testing.T) {
	t.Helper()
	execute(t, r.pool, []sid.ID{r.id}, "DELETE FROM session_cache WHERE sessionid = {0}")
	r.advance(nearcache.Fresh + 50*time.Millisecond)
}

// purge purges the feed as often as it takes, each time after the ten minutes that it
// takes: nothing is left of what was committed before. (Twice, unless other tests have
// transactions under way.)
func (r *reader) purge(t *testing.T) {
	t.Helper()
	queries := db.New(r.pool)
	suite.Eventually(t, "the feed is purged", func() bool {
		execute(t, r.pool, nil, "UPDATE session_change_state SET candidateutc = candidateutc - interval '1 hour'")
		if n, err := queries.AdvanceChangeHorizon(t.Context()); n != 1 || err != nil {
			t.Fatal(n, err)
		}
		if _, err := queries.DeleteChanges(t.Context(), 1000); err != nil {
			t.Fatal(err)
		}
		var left int
		if err := r.pool.QueryRow(t.Context(), "SELECT count(*) FROM session_change").Scan(&left); err != nil {
			t.Fatal(err)
		}
		return left == 0
	})
}

// TestSuspendedBeforeAPollIsSent suspends the reader between a poll's start and its
// sending. Meanwhile the feed loses what the poll would have told of.
func TestSuspendedBeforeAPollIsSent(t *testing.T) {
	r := newReader(t)
	r.beforePoll.armed.Store(true)
	r.advance(nearcache.Fresh)
	waited := make(chan bool)
	go func() { waited <- r.hit(t) }() // it waits for a poll
	<-r.beforePoll.reached
	r.end(t)
	r.purge(t)
	close(r.beforePoll.out)
	<-waited // either is right: it began before the change
	if r.hit(t) {
		t.Error("a hit on a session that has ended")
	}
}

// TestSuspendedBeforeALookupIsKept suspends the reader between a lookup's answer and its
// insertion, with its polls or without.
func TestSuspendedBeforeALookupIsKept(t *testing.T) {
	t.Parallel()
	for name, meanwhile := range map[string]func(t *testing.T, r *reader){
		"no poll":           func(*testing.T, *reader) {},
		"no poll, purged":   func(t *testing.T, r *reader) { r.purge(t) },
		"a poll":            func(t *testing.T, r *reader) { r.hit(t) },
		"a poll of nothing": func(t *testing.T, r *reader) { r.purge(t); r.hit(t) },
	} {
		t.Run(name, func(t *testing.T) {
			r := newReader(t)
			ticket := r.Begin()
			r.end(t) // after the lookup was answered
			meanwhile(t, r)
			r.keep(t, ticket)
			if r.hit(t) {
				t.Error("a hit on a session that has ended")
			}
		})
	}
}

// TestSuspendedInAHit suspends a Get after it has read the clock. It began before the
// change returned, so it may answer; no later one does.
func TestSuspendedInAHit(t *testing.T) {
	t.Parallel()
	for name, poll := range map[string]bool{"with its polls": false, "alone": true} {
		t.Run(name, func(t *testing.T) {
			r := newReader(t)
			// Polling has ended: it is the Get that reads the clock.
			for polls := uint64(0); polls != r.Stats().Polls; time.Sleep(300 * time.Millisecond) {
				polls = r.Stats().Polls
			}
			r.afterClock.armed.Store(true)
			suspended := make(chan bool)
			go func() { suspended <- r.hit(t) }()
			<-r.afterClock.reached
			r.end(t)
			if poll && r.hit(t) {
				t.Error("a hit on a session that has ended")
			}
			close(r.afterClock.out)
			if hit := <-suspended; hit && poll {
				t.Error("a hit on an entry that a poll had removed")
			}
			if r.hit(t) {
				t.Error("a hit on a session that has ended")
			}
		})
	}
}
