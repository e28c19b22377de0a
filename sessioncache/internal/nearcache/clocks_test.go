package nearcache_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rhaptos/sessiondb/sessioncache/internal/nearcache"
	"github.com/rhaptos/sessiondb/sid"
)

// clocks are what a reader's clocks show: now is the true time since the test began, and
// since how long ago the change was committed, 0 before. At least one of the two is as
// good as the design asks for.
var clocks = map[string]func(now, since time.Duration) (mono, wall time.Duration){
	"right":                       func(now, _ time.Duration) (_, _ time.Duration) { return now, now },
	"slow":                        func(now, _ time.Duration) (_, _ time.Duration) { return slow(now), slow(now) },
	"fast":                        func(now, _ time.Duration) (_, _ time.Duration) { return fast(now), fast(now) },
	"monotonic slow, wall fast":   func(now, _ time.Duration) (_, _ time.Duration) { return slow(now), fast(now) },
	"monotonic fast, wall slow":   func(now, _ time.Duration) (_, _ time.Duration) { return fast(now), slow(now) },
	"monotonic frozen":            func(now, since time.Duration) (_, _ time.Duration) { return now - since, now },
	"monotonic frozen, wall slow": func(now, since time.Duration) (_, _ time.Duration) { return now - since, slow(now) },
	"wall frozen":                 func(now, since time.Duration) (_, _ time.Duration) { return now, now - since },
	"wall frozen, monotonic slow": func(now, since time.Duration) (_, _ time.Duration) { return slow(now), now - since },
	"monotonic slow, wall goes back": func(now, since time.Duration) (_, _ time.Duration) {
		return slow(now), now - 2*since
	},
	"monotonic slow, wall set back by an hour":      stepped(slow, 0, -time.Hour),
	"monotonic slow, wall set back by 150 ms":       stepped(slow, 0, -150*ms),
	"monotonic slow, wall set forward by an hour":   stepped(slow, 0, time.Hour),
	"slow, both set back by an hour":                stepped(slow, -time.Hour, -time.Hour),
	"slow, both set forward by an hour":             stepped(slow, time.Hour, time.Hour),
	"slow, monotonic set back, wall forward":        stepped(slow, -time.Hour, time.Hour),
	"slow, monotonic set forward, wall back":        stepped(slow, time.Hour, -time.Hour),
	"wall slow, monotonic set back by 150 ms":       stepped(slow, -150*ms, 0),
	"wall slow, monotonic set back by half an hour": stepped(slow, -30*time.Minute, 0),
}

func slow(d time.Duration) time.Duration { return d * slowRate / 1000 }
func fast(d time.Duration) time.Duration { return d * fastRate / 1000 }

// stepped are clocks that are set at the time of the commit.
func stepped(rate func(time.Duration) time.Duration, mono, wall time.Duration) func(now, since time.Duration) (_, _ time.Duration) {
	return func(now, since time.Duration) (_, _ time.Duration) {
		if since == 0 {
			return rate(now), rate(now)
		}
		return rate(now) + mono, rate(now) + wall
	}
}

// oneChangeFeed has one change, which is committed the moment after a poll has looked.
type oneChangeFeed struct {
	id     sid.ID
	answer time.Duration // how long the answer of that poll takes

	mu        sync.Mutex
	polls     int
	due       bool
	committed time.Time // zero: not yet
	shown     bool
}

func (f *oneChangeFeed) Poll(context.Context) (nearcache.Changes, error) {
	f.mu.Lock()
	f.polls++
	changes := nearcache.Changes{Server: server, Reset: f.polls == 1}
	var delay time.Duration
	switch {
	case f.due:
		f.due, f.committed, delay = false, time.Now(), f.answer
	case !f.committed.IsZero() && !f.shown:
		f.shown, changes.Changed = true, []sid.ID{f.id}
	}
	f.mu.Unlock()
	time.Sleep(delay)
	return changes, nil
}

func (f *oneChangeFeed) Applied() {}

// since is how long ago the change was committed.
func (f *oneChangeFeed) since() time.Duration {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.committed.IsZero() {
		return 0
	}
	return time.Since(f.committed)
}

// TestClocks: a change is committed just after a poll has looked, and returns as early
// as a fast clock lets it. The Get that begins then does not see what was before,
// whatever one of the reader's clocks shows.
func TestClocks(t *testing.T) {
	t.Parallel()
	for name, clock := range clocks {
		for _, answer := range []time.Duration{0, 150 * ms, 240 * ms} {
			t.Run(fmt.Sprintf("%s, an answer that takes %v", name, answer), func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					start := time.Now().Add(-2 * time.Hour) // so that no clock goes below zero
					f := &oneChangeFeed{id: sid.New(), answer: answer}
					cache := nearcache.New[string](nearcache.Config{Entries: 1, Feed: f, Now: func() nearcache.Instant {
						mono, wall := clock(time.Since(start), f.since())
						return nearcache.Instant{Mono: int64(mono), Wall: int64(wall)}
					}})
					get := func() bool { _, _, ok := cache.Get(t.Context(), f.id); return ok }
					get()
					synctest.Wait()
					value := "before"
					if !cache.Keep(cache.Begin(), server, false, f.id, &value, time.Hour) || !get() {
						t.Fatal("nothing is kept")
					}
					f.mu.Lock()
					f.due = true
					f.mu.Unlock()
					time.Sleep(100 * ms) // the next poll
					synctest.Wait()
					if f.since() != 0 || f.committed.IsZero() {
						t.Fatal("no poll has looked, or more than one")
					}
					time.Sleep(changeWait * 1000 / fastRate)
					if get() {
						t.Error("a hit on what was before a change that has returned")
					}
					time.Sleep(time.Second) // polling ends
				})
			})
		}
	}
}
