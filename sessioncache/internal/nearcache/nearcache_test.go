package nearcache_test

import (
	"testing"
	"time"

	"github.com/rhaptos/sessiondb/sessioncache/internal/nearcache"
	"github.com/rhaptos/sessiondb/sid"
)

// clocks are both clocks of a test, which it moves apart.
type clocks struct{ nearcache.Instant }

func (c *clocks) now() nearcache.Instant { return c.Instant }

func (c *clocks) pass(mono, wall time.Duration) {
	c.Mono += int64(mono)
	c.Wall += int64(wall)
}

// kept is a value of the tests.
type kept[V any] struct {
	nearcache.Entry
	value V
}

func text(s string) *kept[string] { return &kept[string]{value: s} }

func setup() (*nearcache.Cache, *clocks, sid.ID) {
	c := &clocks{nearcache.Instant{Mono: int64(time.Hour), Wall: int64(1000 * time.Hour)}}
	return nearcache.New(10, c.now), c, sid.New()
}

// keep keeps what a lookup has found that is sent and answered at once.
func keep(c *nearcache.Cache, id sid.ID, value string) {
	c.Keep(c.Begin(), id, text(value), len(value), time.Hour)
}

// want expects a value, or none if it is empty.
func want(t *testing.T, c *nearcache.Cache, id sid.ID, when, want string) {
	t.Helper()
	value, _, ok := c.Get(id)
	if ok != (want != "") || ok && value.(*kept[string]).value != want {
		t.Errorf("%s: Get = %v; want %q", when, ok, want)
	}
}

// TestLease: an entry counts for 200 ms from the moment its lookup was sent, by both clocks,
// neither of which runs backwards.
func TestLease(t *testing.T) {
	t.Parallel()
	const ms = time.Millisecond
	for _, test := range []struct {
		name       string
		mono, wall time.Duration
		counts     bool
	}{
		{"at once", 0, 0, true},
		{"just before its end", nearcache.Lease - 1, nearcache.Lease - 1, true},
		{"at its end", nearcache.Lease, nearcache.Lease, false},
		{"the monotonic clock is slow", nearcache.Lease / 2, nearcache.Lease, false},
		{"the machine was suspended", ms, time.Hour, false},
		{"the wall clock is slow", nearcache.Lease, nearcache.Lease / 2, false},
		{"the wall clock was set back", ms, -ms, false},
		{"the monotonic clock was set back", -ms, ms, false},
	} {
		c, clock, id := setup()
		keep(c, id, "value")
		clock.pass(test.mono, test.wall)
		_, age, ok := c.Get(id)
		if ok != test.counts || ok && age != test.mono {
			t.Errorf("%s: Get = %s, %v; want %v", test.name, age, ok, test.counts)
		}
	}
}

// TestLeaseBeginsWhenTheLookupIsSent, not when it is answered.
func TestLeaseBeginsWhenTheLookupIsSent(t *testing.T) {
	t.Parallel()
	c, clock, id := setup()
	sent := c.Begin()
	clock.pass(nearcache.Lease-1, nearcache.Lease-1)
	c.Keep(sent, id, text("value"), 5, time.Hour)
	want(t, c, id, "a slow answer", "value")
	clock.pass(1, 1)
	want(t, c, id, "the lease of a slow answer has ended", "")
}

// TestEntryEndsWithItsSession, which may be before the lease.
func TestEntryEndsWithItsSession(t *testing.T) {
	t.Parallel()
	c, clock, id := setup()
	c.Keep(c.Begin(), id, text("value"), 5, 10)
	clock.pass(9, 9)
	want(t, c, id, "before the end", "value")
	clock.pass(1, 1)
	want(t, c, id, "at the end", "")
	c.Keep(c.Begin(), id, text("value"), 5, 0)
	want(t, c, id, "with no time left", "")
}

// TestMark: an own change is seen at once, and what lookups find that were sent before it, or
// at the same instant, is not kept, however late they are answered.
func TestMark(t *testing.T) {
	t.Parallel()
	for name, mark := range map[string]func(c *nearcache.Cache, id sid.ID){
		"Mark":    func(c *nearcache.Cache, id sid.ID) { c.Mark(sid.New(), id) },
		"MarkAll": func(c *nearcache.Cache, _ sid.ID) { c.MarkAll() },
	} {
		for _, late := range []time.Duration{0, 1, nearcache.Lease / 2, nearcache.Lease - 2} {
			c, clock, id := setup()
			keep(c, id, "old")
			// An earlier mark of another id, after which the marks of this one are soon in the
			// older of two maps.
			c.Mark(sid.New())
			clock.pass(nearcache.Lease/2, nearcache.Lease/2)
			keep(c, id, "old")
			sent := c.Begin()
			clock.pass(1, 1)
			atOnce := c.Begin()
			mark(c, id)
			want(t, c, id, name, "")
			clock.pass(late, late)
			// Marks of others, which have the older ones dropped when it is time.
			for range 3 {
				c.Mark(sid.New())
			}
			c.Keep(sent, id, text("old"), 3, time.Hour)
			want(t, c, id, name+": an answer to a lookup of before", "")
			c.Keep(atOnce, id, text("old"), 3, time.Hour)
			want(t, c, id, name+": an answer to a lookup of the same instant", "")
			clock.pass(1, 1)
			keep(c, id, "new")
			want(t, c, id, name+": an answer to a lookup of after", "new")
		}
	}
}

// TestMarkOutlivesTheWallClock: a step of the wall clock ends no mark.
func TestMarkOutlivesTheWallClock(t *testing.T) {
	t.Parallel()
	for _, step := range []time.Duration{time.Hour, -time.Hour} {
		c, clock, id := setup()
		sent := c.Begin()
		clock.pass(1, 1)
		c.Mark(id)
		clock.pass(1, step)
		c.Mark(sid.New())
		clock.pass(1, 1-step) // set right again
		c.Mark(sid.New())
		c.Keep(sent, id, text("old"), 3, time.Hour)
		want(t, c, id, step.String(), "")
	}
}

// TestMarksAreDropped when no lookup of before them can count any more.
func TestMarksAreDropped(t *testing.T) {
	t.Parallel()
	c, clock, _ := setup()
	for range 10_000 {
		clock.pass(nearcache.Lease/10, nearcache.Lease/10)
		c.Mark(sid.New())
	}
	if n := c.Marked(); n > 20 {
		t.Errorf("%d marks are left", n)
	}
}

// TestNewestLookupStays: an answer that comes late does not replace that of a later lookup.
func TestNewestLookupStays(t *testing.T) {
	t.Parallel()
	c, clock, id := setup()
	early := c.Begin()
	clock.pass(1, 1)
	keep(c, id, "new")
	c.Keep(early, id, text("old"), 3, time.Hour)
	want(t, c, id, "a late answer", "new")
}

func TestLargeEntriesAreNotKept(t *testing.T) {
	t.Parallel()
	c, _, id := setup()
	c.Keep(c.Begin(), id, text("value"), nearcache.LargestKept+1, time.Hour)
	want(t, c, id, "above the limit", "")
	c.Keep(c.Begin(), id, text("value"), nearcache.LargestKept, time.Hour)
	want(t, c, id, "at the limit", "value")
}

func TestEntriesAreBounded(t *testing.T) {
	t.Parallel()
	c, _, _ := setup()
	for range 1000 {
		keep(c, sid.New(), "value")
	}
	for deadline := time.Now().Add(time.Minute); c.Stats().Entries > 10; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) { // the eviction policy works in the background
			t.Fatalf("%d entries are left of 10", c.Stats().Entries)
		}
	}
	c.Count(true)
	c.Count(true)
	c.Count(false)
	if s := c.Stats(); s.Hits != 2 || s.Misses != 1 {
		t.Errorf("Stats = %+v", s)
	}
}
