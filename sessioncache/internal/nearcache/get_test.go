package nearcache_test

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rhaptos/sessiondb/sessioncache/internal/nearcache"
	"github.com/rhaptos/sessiondb/sid"
)

func TestHitCountsFor200ms(t *testing.T) {
	for _, test := range []struct {
		name  string
		age   time.Duration
		step  func(c *clock)
		waits uint64
	}{
		{"199 ms", 199 * ms, nil, 0},
		{"200 ms less 1 ns", 200*ms - 1, nil, 0},
		{"200 ms", 200 * ms, nil, 1},
		{"half a minute", 30 * time.Second, nil, 1},
		{"wall clock set back", 0, func(c *clock) { c.wall.Add(-1) }, 1},
		{"wall clock set back by less than the age", 100 * ms, func(c *clock) { c.wall.Add(-int64(50 * ms)) }, 0},
		{"wall clock set forward", 0, func(c *clock) { c.wall.Add(int64(200 * ms)) }, 1},
		{"wall clock set forward a little", 0, func(c *clock) { c.wall.Add(int64(199 * ms)) }, 0},
		{"suspended", 200 * ms, func(c *clock) { c.mono.Add(-int64(200 * ms)) }, 1},
		{"wall clock set back by the age", 200 * ms, func(c *clock) { c.wall.Add(-int64(200 * ms)) }, 1},
	} {
		t.Run(test.name, func(t *testing.T) {
			run(t, func(b *bundle) {
				// The entry is older than the poll, so that it is the poll that does not count.
				b.keep()
				time.Sleep(time.Second)
				b.get(true)
				b.polls(0, time.Second)
				time.Sleep(test.age)
				if test.step != nil {
					test.step(b.clock)
				}
				b.get(true)
				b.waits(1 + test.waits)
			})
		})
	}
}

func TestStaleGetWaitsForOnePoll(t *testing.T) {
	run(t, func(b *bundle) {
		b.keep()
		time.Sleep(time.Second)
		b.feed.takes(50 * ms)
		start := time.Now()
		var wg sync.WaitGroup
		for range 100 {
			wg.Go(func() { b.get(true) })
		}
		wg.Wait()
		b.elapsed(start, 50*ms)
		b.polls(0, time.Second)
		b.waits(100)
	})
}

// A poll that begins after a call counts for it, however long it takes and whatever the
// clocks say.
func TestPollSlowerThan200ms(t *testing.T) {
	run(t, func(b *bundle) {
		b.keep()
		time.Sleep(time.Second)
		b.feed.takes(300 * ms)
		time.AfterFunc(100*ms, func() { b.clock.wall.Add(int64(20 * time.Second)) })
		start := time.Now()
		b.get(true)
		b.elapsed(start, 300*ms)
	})
}

func TestPollUnderWay(t *testing.T) {
	t.Run("counts by its age", func(t *testing.T) {
		run(t, func(b *bundle) {
			b.keep()
			time.Sleep(time.Second)
			b.feed.takes(150 * ms)
			go b.get(true)
			time.Sleep(50 * ms)
			start := time.Now()
			b.get(true)
			b.elapsed(start, 100*ms)
			b.polls(0, time.Second)
		})
	})
	t.Run("does not count by having been joined", func(t *testing.T) {
		run(t, func(b *bundle) {
			b.keep()
			time.Sleep(time.Second)
			b.feed.takes(300 * ms)
			go b.get(true)
			time.Sleep(50 * ms)
			start := time.Now()
			b.get(true)
			b.elapsed(start, 550*ms)
			b.polls(0, time.Second, time.Second+300*ms)
		})
	})
	t.Run("has removed the entry", func(t *testing.T) {
		run(t, func(b *bundle) {
			b.keep()
			time.Sleep(time.Second)
			b.feed.takes(300 * ms)
			b.changes(b.id)
			go b.get(false)
			time.Sleep(50 * ms)
			start := time.Now()
			b.get(false)
			b.elapsed(start, 250*ms)
		})
	})
}

// A poll is applied while a Get reads memory, which was stale when it began to.
func TestPollIsAppliedWhileGetReads(t *testing.T) {
	run(t, func(b *bundle) {
		b.keep()
		time.Sleep(time.Second)
		b.changes(b.id)
		meanwhile := func() { b.get(false) }
		b.clock.next.Store(&meanwhile)
		b.get(false)
		b.polls(0, time.Second)
	})
}

// While a poll is applied, no Get sees the poll's start before the removals.
func TestRemovalsComeBeforeFreshness(t *testing.T) {
	run(t, func(b *bundle) {
		b.keep()
		time.Sleep(time.Second)
		ids := make([]sid.ID, 200_000) // the zero id, which is not in memory: on a busy machine, too, a Get comes in between
		b.changes(append(ids, b.id)...)
		ctx, cancel := context.WithCancel(b.Context())
		cancel() // Get does not wait
		for b.feed.appliedPolls() < 2 {
			if _, _, ok := b.Get(ctx, b.id); ok {
				b.Fatal("a hit on a value that the poll says has changed")
			}
		}
	})
}

// The same for a poll that empties memory. A Get comes in at a point that is known: where
// the beginning of the quarantine is read.
func TestRemovalsComeBeforeFreshnessOfAReset(t *testing.T) {
	run(t, func(b *bundle) {
		b.keep()
		time.Sleep(time.Second)
		ctx, cancel := context.WithCancel(b.Context())
		cancel() // Get does not wait
		var came atomic.Bool
		meanwhile := func() {
			came.Store(true)
			if _, _, ok := b.Get(ctx, b.id); ok {
				b.Error("a hit on a value that the poll says may have changed")
			}
		}
		b.feed.calls(func(context.Context) (nearcache.Changes, error) {
			b.clock.next.Store(&meanwhile)
			return nearcache.Changes{Server: server, Quarantine: true}, nil
		})
		b.get(false)
		if !came.Load() {
			b.Error("no Get came in between")
		}
		b.feed.answers(nearcache.Changes{Server: server}, nil)
	})
}

func TestWithoutEntryGetDoesNotWait(t *testing.T) {
	run(t, func(b *bundle) {
		time.Sleep(time.Second)
		b.feed.takes(50 * ms)
		start := time.Now()
		b.get(false)
		b.elapsed(start, 0)
		b.waits(0)
	})
}

func TestContextEndsWhileGetWaits(t *testing.T) {
	run(t, func(b *bundle) {
		b.keep()
		time.Sleep(time.Second)
		b.feed.takes(50 * ms)
		ctx, cancel := context.WithTimeout(b.Context(), 20*ms)
		defer cancel()
		start := time.Now()
		if _, _, ok := b.Get(ctx, b.id); ok {
			b.Error("a hit, although the poll has not been applied")
		}
		b.elapsed(start, 20*ms)
		time.Sleep(30 * ms)
		synctest.Wait()
		start = time.Now()
		b.get(true) // the poll was applied
		b.elapsed(start, 0)
		b.polls(0, time.Second)
	})
}
