package nearcache_test

import (
	"context"
	"runtime"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rhaptos/sessiondb/sessioncache/internal/nearcache"
)

func TestPolling(t *testing.T) {
	t.Run("every 100 ms from start to start while it is used", func(t *testing.T) {
		run(t, func(b *bundle) {
			b.feed.takes(30 * ms)
			for range 19 {
				b.get(false)
				time.Sleep(25 * ms)
			}
			b.polls(0, 100*ms, 200*ms, 300*ms, 400*ms)
		})
	})
	t.Run("a poll slower than that is followed by the next", func(t *testing.T) {
		run(t, func(b *bundle) {
			time.Sleep(time.Second)
			b.feed.takes(130 * ms)
			for range 20 {
				b.get(false)
				time.Sleep(20 * ms)
			}
			b.polls(0, 1000*ms, 1130*ms, 1260*ms, 1390*ms)
		})
	})
	t.Run("not while nobody asks, and at once when somebody does", func(t *testing.T) {
		run(t, func(b *bundle) {
			time.Sleep(time.Hour)
			b.polls(0)
			b.get(false)
			synctest.Wait()
			b.polls(0, time.Hour)
		})
	})
	t.Run("a hit is a use", func(t *testing.T) {
		run(t, func(b *bundle) {
			b.keep()
			for range 9 {
				b.get(true)
				time.Sleep(50 * ms)
			}
			b.waits(0)
			b.polls(0, 100*ms, 200*ms, 300*ms, 400*ms)
		})
	})
}

// Whoever waits does not wait until the next poll is due.
func TestPollBeginsAtOnceForWhoWaits(t *testing.T) {
	run(t, func(b *bundle) {
		b.keep()
		time.Sleep(10 * ms)
		b.clock.wall.Add(int64(time.Second))
		start := time.Now()
		b.get(true)
		b.elapsed(start, 0)
		b.polls(0, 10*ms)
	})
}

// The feed fails between a Get's look at memory, which was stale, and its wait.
func TestFeedFailsBeforeGetWaits(t *testing.T) {
	run(t, func(b *bundle) {
		b.keep()
		time.Sleep(time.Second)
		b.feed.answers(nearcache.Changes{}, errBroken)
		b.feed.takes(10 * ms)
		start := time.Now()
		meanwhile := func() { b.get(false) }
		b.clock.next.Store(&meanwhile)
		b.get(false)
		b.elapsed(start, 10*ms)
		b.waits(2)
	})
}

func TestFailingFeed(t *testing.T) {
	run(t, func(b *bundle) {
		b.keep()
		b.feed.answers(nearcache.Changes{}, errBroken)
		b.feed.takes(10 * ms)
		time.Sleep(time.Second)
		start := time.Now()
		b.get(false) // waits for a poll that fails
		b.elapsed(start, 10*ms)
		start = time.Now()
		for time.Since(start) < 5*time.Second {
			before := time.Now()
			b.get(false)
			b.elapsed(before, 0)
			if b.tryKeep() {
				b.Error("a value was kept, although the feed fails")
			}
			if b.Working() {
				b.Error("Working, although the feed fails")
			}
			time.Sleep(10 * ms)
		}
		s := time.Second
		b.polls(0, s, s+110*ms, s+320*ms, s+730*ms, s+1540*ms, s+2550*ms, s+3560*ms, s+4570*ms)
		b.feed.answers(nearcache.Changes{Server: server}, nil)
		time.Sleep(time.Second)
		b.get(true) // the poll told what has changed meanwhile
		if reports := b.reported(); !slices.Equal(reports, []error{errBroken, nil}) {
			b.Errorf("reports: %v", reports)
		}
		if stats := b.Stats(); stats.FailedPolls != 8 {
			b.Errorf("%d failed polls; want 8", stats.FailedPolls)
		}
	})
}

func TestFeedThatHasNeverWorkedIsReportedOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := setup(t)
		b.feed.answers(nearcache.Changes{}, errBroken)
		for range 100 {
			b.get(false)
			time.Sleep(50 * ms)
		}
		if reports := b.reported(); !slices.Equal(reports, []error{errBroken}) {
			b.Errorf("reports: %v", reports)
		}
	})
}

// A poll that takes too long is abandoned, even if it does not heed its context.
func TestAbandonedPoll(t *testing.T) {
	run(t, func(b *bundle) {
		b.keep()
		b.feed.takes(3 * time.Second)
		time.Sleep(time.Second)
		start := time.Now()
		b.get(false)
		b.elapsed(start, time.Second)
		time.Sleep(time.Second)
		b.get(false)
		b.polls(0, time.Second) // one at a time
		b.feed.takes(0)
		time.Sleep(time.Second)
		synctest.Wait()
		if applied := b.feed.appliedPolls(); applied != 1 {
			b.Errorf("%d polls were applied; want 1", applied)
		}
		time.Sleep(100 * ms)
		synctest.Wait()
		b.get(true)
	})
}

func TestContextOfPollEnds(t *testing.T) {
	run(t, func(b *bundle) {
		b.keep()
		time.Sleep(time.Second)
		b.feed.calls(func(ctx context.Context) (nearcache.Changes, error) {
			<-ctx.Done()
			return nearcache.Changes{}, ctx.Err()
		})
		start := time.Now()
		b.get(false)
		b.elapsed(start, time.Second)
	})
}

func TestPollThatDoesNotReturn(t *testing.T) {
	for name, end := range map[string]func(){
		"panics":             func() { panic("bang") },
		"ends its goroutine": runtime.Goexit,
	} {
		t.Run(name, func(t *testing.T) {
			run(t, func(b *bundle) {
				b.keep()
				time.Sleep(time.Second)
				b.feed.calls(func(context.Context) (nearcache.Changes, error) {
					end()
					return nearcache.Changes{}, nil
				})
				b.get(false)
				b.feed.answers(nearcache.Changes{Server: server}, nil)
				time.Sleep(150 * ms)
				b.get(false) // polls
				synctest.Wait()
				b.get(true)
				if reports := b.reported(); len(reports) != 2 || reports[0] == nil || reports[1] != nil {
					b.Errorf("reports: %v", reports)
				}
			})
		})
	}
}
