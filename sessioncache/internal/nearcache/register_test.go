package nearcache_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rhaptos/sessiondb/sessioncache/internal/nearcache"
	"github.com/rhaptos/sessiondb/sid"
)

// A change waits this long after its commit, by its own clock, which goes too fast. The
// reader's goes too slow. These are the rates that the design allows for.
const (
	changeWait = 250 * time.Millisecond
	fastRate   = 1083 // of 1000
	slowRate   = 917
)

// database holds the version of each session, and the changes in the order of their
// commits.
type database struct {
	mu       sync.Mutex
	versions []int64
	log      []int // sessions
}

func (d *database) change(session int) (version int64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.versions[session]++
	d.log = append(d.log, session)
	return d.versions[session]
}

func (d *database) version(session int) int64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.versions[session]
}

// since returns the sessions changed since an earlier snapshot, and the snapshot now.
func (d *database) Within(snapshot int) (changed []sid.ID, now int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, session := range d.log[snapshot:] {
		changed = append(changed, sessionID(session))
	}
	return changed, len(d.log)
}

func sessionID(session int) sid.ID { return sid.ID{byte(session), byte(session >> 8)} }

// databaseFeed reads the changes of a database, mostly fast. Sometimes it is slow before
// its snapshot is taken, or after, or fails.
type databaseFeed struct {
	database   *database
	base, next int
}

func (f *databaseFeed) Poll(context.Context) (changes nearcache.Changes, err error) {
	changes = nearcache.Changes{Server: server, Reset: f.base == 0 || rand.IntN(100) == 0}
	slowly()
	changes.Changed, f.next = f.database.Within(f.base)
	if changes.Reset {
		changes.Changed = nil
	}
	slowly()
	if rand.IntN(10) == 0 {
		upTo(700 * time.Millisecond)
	}
	if rand.IntN(50) == 0 {
		return nearcache.Changes{}, errors.New("the answer is lost")
	}
	return changes, nil
}

func (f *databaseFeed) Applied() { f.base = f.next }

// slowly takes no time, or little, or more than a hit may be old.
func slowly() {
	switch n := rand.IntN(40); {
	case n < 30:
	case n < 35:
		upTo(10 * time.Millisecond)
	default:
		upTo(250 * time.Millisecond)
	}
}

func upTo(d time.Duration) { time.Sleep(rand.N(d)) }

// readerClock is a pair of clocks that go too slow. Whoever reads them may be delayed,
// before or after.
type readerClock struct {
	start time.Time

	mu     sync.Mutex
	frozen bool
	mono   time.Duration // while frozen; else how much has been lost
	wall   time.Duration // how far it has been set
}

func (c *readerClock) Now() nearcache.Instant {
	delay := func() {
		if rand.IntN(500) == 0 {
			upTo(300 * time.Millisecond)
		}
	}
	delay()
	defer delay()
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Since(c.start)
	mono, wall := now-c.mono, now+c.wall
	if c.frozen {
		mono = c.mono
	}
	return nearcache.Instant{Mono: int64(mono * slowRate / 1000), Wall: int64(wall * slowRate / 1000)}
}

// suspend stops the monotonic clock for a while.
func (c *readerClock) suspend() {
	freeze := func(frozen bool) {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.frozen, c.mono = frozen, time.Since(c.start)-c.mono
	}
	freeze(true)
	upTo(400 * time.Millisecond)
	freeze(false)
}

// set sets the wall clock.
func (c *readerClock) set() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.wall += rand.N(800*time.Millisecond) - 400*time.Millisecond
}

// TestRegister checks that no Get that begins after a change has returned sees what was
// before it. Time is the bubble's; the goroutines run in parallel. More changes than by
// default are made if NEARCACHE_CHANGES says so.
func TestRegister(t *testing.T) {
	t.Parallel()
	changes := 5_000
	if s := os.Getenv("NEARCACHE_CHANGES"); s != "" {
		var err error
		if changes, err = strconv.Atoi(s); err != nil {
			t.Fatal(err)
		}
	}
	for _, test := range []struct {
		name  string
		trick func(c *readerClock)
	}{
		{"suspended", (*readerClock).suspend},
		{"wall clock set", (*readerClock).set},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) { checkRegister(t, changes, test.trick) })
		})
	}
}

func checkRegister(t *testing.T, changes int, trick func(c *readerClock)) {
	const sessions, readers = 500, 200
	var (
		d        = &database{versions: make([]int64, sessions)}
		clocks   = &readerClock{start: time.Now()}
		cache    = nearcache.New[int64](nearcache.Config{Entries: sessions, Feed: &databaseFeed{database: d}, Now: clocks.Now})
		returned [sessions]atomic.Int64 // versions whose changes have returned
		ended    atomic.Bool
		wrong    atomic.Int64
		changers sync.WaitGroup
		others   sync.WaitGroup
	)
	for session := range sessions {
		changers.Go(func() {
			for range changes / sessions {
				upTo(500 * time.Millisecond)
				version := d.change(session)
				time.Sleep(changeWait * 1000 / fastRate)
				returned[session].Store(version)
			}
		})
	}
	for range readers {
		others.Go(func() {
			for !ended.Load() {
				session := rand.IntN(sessions)
				id, required := sessionID(session), returned[session].Load()
				if version, _, ok := cache.Get(t.Context(), id); !ok {
					ticket := cache.Begin()
					slowly()
					version := d.version(session)
					slowly()
					cache.Keep(ticket, server, false, id, &version, time.Hour)
				} else if *version < required {
					wrong.Add(1)
				}
				pause(clocks.start)
			}
		})
	}
	others.Go(func() { // one of the clocks is wrong, the other right
		for !ended.Load() {
			upTo(500 * time.Millisecond)
			trick(clocks)
		}
	})
	changers.Wait()
	ended.Store(true)
	others.Wait()
	time.Sleep(5 * time.Second) // polling ends
	stats := cache.Stats()
	t.Logf("%d changes: %+v", len(d.log), stats)
	if n := wrong.Load(); n > 0 {
		t.Errorf("%d of %d hits saw a version whose change had been followed by another that had returned", n, stats.Hits)
	}
	if stats.Hits < uint64(changes) || stats.Waits == 0 {
		t.Error("the run shows nothing")
	}
}

// pause is short, but all readers fall silent for a while in each 1.5 s, and begin again
// at the same time.
func pause(start time.Time) {
	const period, silence = 1500 * time.Millisecond, 400 * time.Millisecond
	if left := period - time.Since(start)%period; left < silence {
		time.Sleep(left)
		return
	}
	upTo(5 * time.Millisecond)
}
