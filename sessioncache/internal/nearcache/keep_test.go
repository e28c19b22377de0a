package nearcache_test

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rhaptos/sessiondb/sessioncache/internal/nearcache"
	"github.com/rhaptos/sessiondb/sid"
)

func TestKeepRefuses(t *testing.T) {
	value := "value"
	for _, test := range []struct {
		name    string
		server  int64
		standby bool
		value   *string
		ttl     time.Duration
	}{
		{"another server", 2, false, &value, time.Hour},
		{"a server in recovery", server, true, &value, time.Hour},
		{"an ended session", server, false, &value, 0},
		{"a session that ended before", server, false, &value, -1},
		{"nothing", server, false, nil, time.Hour},
	} {
		t.Run(test.name, func(t *testing.T) {
			run(t, func(b *bundle) {
				if b.Keep(b.Begin(), test.server, test.standby, b.id, test.value, test.ttl) {
					b.Error("it was kept")
				}
				b.get(false)
				b.keep()
			})
		})
	}
}

func TestPollWhileLookupIsUnderWay(t *testing.T) {
	id, other := sid.New(), sid.New()
	many := slices.Repeat([]sid.ID{other}, 1025)
	for _, test := range []struct {
		name  string
		polls [][]sid.ID // what they tell of; the one of nil resets
		kept  bool
	}{
		{"no poll", [][]sid.ID{}, true},
		{"no changes", [][]sid.ID{{}, {}}, true},
		{"changes of others", [][]sid.ID{{other}, {}, {other, other}}, true},
		{"a change of it, last", [][]sid.ID{{other}, {other, id}}, false},
		{"a change of it, first", [][]sid.ID{{id}, {}, {other}}, false},
		{"reset, first", [][]sid.ID{nil, {}, {other}}, false},
		{"reset, last", [][]sid.ID{{}, nil}, false},
		{"more changes than are remembered", [][]sid.ID{many}, false},
		{"more changes than are remembered, in two", [][]sid.ID{many[:1], many[:1024]}, false},
		{"as many changes as are remembered", [][]sid.ID{many[:1], many[:1023]}, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			run(t, func(b *bundle) {
				ticket, value := b.Begin(), "value"
				for _, ids := range test.polls {
					b.feed.answers(nearcache.Changes{Server: server, Changed: ids, Reset: ids == nil}, nil)
					time.Sleep(200 * ms)
					b.get(false) // polls
					synctest.Wait()
				}
				b.feed.answers(nearcache.Changes{Server: server}, nil)
				if kept := b.Keep(ticket, server, false, id, &value, time.Hour); kept != test.kept {
					b.Errorf("kept is %v, want %v", kept, test.kept)
				}
				if _, _, ok := b.Get(b.Context(), id); ok != test.kept {
					b.Errorf("found is %v, want %v", ok, test.kept)
				}
				b.keep() // a later lookup
			})
		})
	}
}

// A poll is under way while a lookup is kept, and tells of its id: either order is right, but
// nothing comes between Keep's look at the polls and its insertion.
func TestPollIsAppliedWhileKeeping(t *testing.T) {
	run(t, func(b *bundle) {
		b.keep()
		time.Sleep(time.Second)
		b.changes(b.id)
		b.feed.takes(10 * ms)
		go b.get(false) // it waits for the poll
		synctest.Wait()
		b.tryKeep()
		time.Sleep(10 * ms)
		synctest.Wait() // the poll has been applied
		b.get(false)
		b.polls(0, time.Second)
	})
}

// A poll that fails between ticket and answer tells of nothing; the next one does.
func TestFailureWhileLookupIsUnderWay(t *testing.T) {
	run(t, func(b *bundle) {
		ticket, value := b.Begin(), "value"
		poll := func(ids []sid.ID, err error) {
			b.feed.answers(nearcache.Changes{Server: server, Changed: ids}, err)
			time.Sleep(200 * ms)
			b.get(false)
			synctest.Wait()
		}
		poll(nil, errBroken)
		during := b.Begin() // while no poll would tell of a change
		poll([]sid.ID{b.id}, nil)
		for _, ticket := range []nearcache.Ticket{ticket, during} {
			if b.Keep(ticket, server, false, b.id, &value, time.Hour) {
				b.Error("it was kept")
			}
		}
		if b.Keep(during, server, false, sid.New(), &value, time.Hour) {
			b.Error("it was kept, although its lookup was sent while the feed failed")
		}
		b.keep()
	})
}

func TestNothingIsKeptBeforeTheFirstPoll(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := setup(t)
		if b.tryKeep() {
			b.Error("it was kept")
		}
		ticket, value := b.Begin(), "value"
		b.get(false)
		synctest.Wait()
		if b.Keep(ticket, server, false, b.id, &value, time.Hour) {
			b.Error("it was kept, although its lookup was sent before the first poll")
		}
		b.keep()
		b.get(true)
	})
}

func TestEntryEnds(t *testing.T) {
	for _, test := range []struct {
		name   string
		ttl    time.Duration
		lookup time.Duration // how long it takes
		step   time.Duration // of the wall clock, once it is kept
		end    time.Duration // after the lookup was sent
	}{
		{"with its session", 2 * time.Second, 0, 0, 2 * time.Second},
		{"counting from before the lookup", 2 * time.Second, 50 * ms, 0, 2 * time.Second},
		{"after a minute at the latest", time.Hour, 0, 0, time.Minute},
		{"by the wall clock", 2 * time.Second, 0, 500 * ms, 1500 * ms},
		{"by the monotonic clock", 2 * time.Second, 0, -500 * ms, 2 * time.Second},
	} {
		t.Run(test.name, func(t *testing.T) {
			run(t, func(b *bundle) {
				start, value := time.Now(), "value"
				ticket := b.Begin()
				time.Sleep(test.lookup)
				if !b.Keep(ticket, server, false, b.id, &value, test.ttl) {
					b.Fatal("it was not kept")
				}
				b.clock.wall.Add(int64(test.step))
				time.Sleep(test.end - 1 - time.Since(start))
				b.get(true)
				time.Sleep(time.Nanosecond)
				b.get(false)
			})
		})
	}
}

func TestQuarantine(t *testing.T) {
	for _, test := range []struct {
		name string
		step func(c *clock) // half a second into it
		end  time.Duration
	}{
		{"one second", func(*clock) {}, time.Second},
		{"wall clock set forward", func(c *clock) { c.wall.Add(int64(time.Minute)) }, time.Second},
		{"suspended", func(c *clock) { c.mono.Add(-int64(100 * ms)) }, 1100 * ms},
		{"wall clock set back a little", func(c *clock) { c.wall.Add(-int64(100 * ms)) }, 1100 * ms},
		{"wall clock set back by an hour", func(c *clock) { c.wall.Add(-int64(time.Hour)) }, 1500 * ms},
	} {
		t.Run(test.name, func(t *testing.T) {
			run(t, func(b *bundle) {
				b.feed.answers(nearcache.Changes{Server: 2, Quarantine: true}, nil)
				time.Sleep(time.Second)
				b.get(false)
				synctest.Wait()
				b.feed.answers(nearcache.Changes{Server: 2}, nil)
				start, value := time.Now(), "value"
				tryKeep := func() bool { return b.Keep(b.Begin(), 2, false, b.id, &value, time.Hour) }
				early := b.Begin()
				time.Sleep(500 * ms)
				test.step(b.clock)
				if tryKeep() {
					b.Error("kept after half a second")
				}
				time.Sleep(test.end - 1 - time.Since(start))
				if tryKeep() {
					b.Errorf("kept before %v", test.end)
				}
				time.Sleep(time.Nanosecond)
				if b.Keep(early, 2, false, b.id, &value, time.Hour) {
					b.Error("a lookup was kept that was sent when the quarantine began")
				}
				if !tryKeep() {
					b.Errorf("not kept after %v", test.end)
				}
			})
		})
	}
}

func TestMemoryIsBounded(t *testing.T) {
	run(t, func(b *bundle) {
		value := "value"
		for range 1000 {
			b.Keep(b.Begin(), server, false, sid.New(), &value, time.Hour)
			synctest.Wait()
		}
		if n := b.Stats().Entries; n == 0 || n > 100 {
			b.Errorf("%d entries; want at most 100", n)
		}
	})
}
