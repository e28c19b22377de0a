package coalesce_test

import (
	"context"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rhaptos/sessiondb/sessioncache/internal/coalesce"
)

// distant is a Group whose statements take as long as the test says, and counts those
// under way.
type distant struct {
	coalesce.Group[int, int]

	mu            sync.Mutex
	takes         func(key int) time.Duration
	underWay, max int
	statements    int
}

func newDistant(slots *coalesce.Slots, takes time.Duration) *distant {
	d := &distant{takes: func(int) time.Duration { return takes }}
	d.Limit = 256
	d.Single = func(_ context.Context, n int) (int, error) { d.run(n, 1); return n, nil }
	d.Batch = func(_ context.Context, calls []coalesce.Call[int, int]) {
		d.run(calls[0].Key, len(calls))
		for i := range calls {
			calls[i].Value = calls[i].Key
		}
	}
	d.Share(slots)
	return d
}

// run takes longer the more calls there are, as a lookup does.
func (d *distant) run(key, calls int) {
	d.mu.Lock()
	d.statements++
	d.underWay++
	d.max = max(d.max, d.underWay)
	takes := d.takes(key) + time.Duration(calls)*6*time.Microsecond
	d.mu.Unlock()
	time.Sleep(takes)
	d.mu.Lock()
	d.underWay--
	d.mu.Unlock()
}

// ask has callers ask again and again until the time is over, and returns how long the
// slowest call took.
func (d *distant) ask(t *testing.T, callers int, length time.Duration) (slowest time.Duration) {
	t.Helper()
	var mu sync.Mutex
	var all sync.WaitGroup
	end := time.Now().Add(length)
	for n := range callers {
		all.Go(func() {
			for time.Now().Before(end) {
				start := time.Now()
				if got, err := d.Do(t.Context(), n); got != n || err != nil {
					t.Errorf("Do(%d) = %d, %v", n, got, err)
				}
				mu.Lock()
				slowest = max(slowest, time.Since(start))
				mu.Unlock()
			}
		})
	}
	all.Wait()
	return slowest
}

// pinging returns a ping that takes so long.
func pinging(takes time.Duration) func(context.Context) error {
	return func(context.Context) error { time.Sleep(takes); return nil }
}

// TestFewStatementsNearTheServer: with any number of slots, one more is under
// way than there are CPUs, and four at most. Whether the server is near, statements tell, or a
// ping if they all wait for the disk.
func TestFewStatementsNearTheServer(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		slots int
		takes time.Duration
		ping  func(context.Context) error
	}{
		"few slots":       {3, 200 * time.Microsecond, unreachable},
		"many slots":      {15, 200 * time.Microsecond, unreachable},
		"even more slots": {63, 200 * time.Microsecond, unreachable},
		"a slow disk":     {63, 10 * time.Millisecond, pinging(100 * time.Microsecond)},
	} {
		synctest.Test(t, func(t *testing.T) {
			d := newDistant(coalesce.NewSlots(test.slots, test.ping), test.takes)
			d.ask(t, 64, time.Second) // until it is known
			d.mu.Lock()
			d.max = 0
			d.mu.Unlock()
			d.ask(t, 64, time.Second)
			if d.max > 4 {
				t.Errorf("%s: %d statements at once; want four at most", name, d.max)
			}
			time.Sleep(time.Second) // for pings under way
		})
	}
}

// TestManyStatementsFarFromTheServer: there all slots are used, and a new distance is
// noticed within a second, both ways.
func TestManyStatementsFarFromTheServer(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var d *distant
		d = newDistant(coalesce.NewSlots(15, func(context.Context) error {
			d.mu.Lock()
			takes := d.takes(0)
			d.mu.Unlock()
			time.Sleep(takes)
			return nil
		}), 0)
		for _, distance := range []struct {
			takes              time.Duration
			atLeast, butAtMost int
		}{
			{500 * time.Microsecond, 15, 15},
			{200 * time.Microsecond, 2, 4},
			{10 * time.Millisecond, 15, 15},
		} {
			d.mu.Lock()
			d.takes = func(int) time.Duration { return distance.takes }
			d.mu.Unlock()
			d.ask(t, 64, time.Second) // in which it adapts
			d.mu.Lock()
			d.max = 0
			d.mu.Unlock()
			// Each caller asks when it likes: in step they would share a batch or two.
			var all sync.WaitGroup
			for n := range 64 {
				all.Go(func() {
					for range 100 {
						time.Sleep(time.Duration(n+1) * distance.takes / 64)
						_, _ = d.Do(t.Context(), n)
					}
				})
			}
			all.Wait()
			if d.max < distance.atLeast || d.max > distance.butAtMost {
				t.Errorf("%s away: %d statements at once; want %d to %d", distance.takes, d.max, distance.atLeast, distance.butAtMost)
			}
		}
		time.Sleep(time.Second) // for pings under way
	})
}

// TestTheQueueMovesOn: a statement that waits for a lock keeps its slot, and nobody
// else waits for it longer than it is recent.
func TestTheQueueMovesOn(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d := newDistant(coalesce.NewSlots(15, unreachable), 0)
		d.takes = func(key int) time.Duration {
			if key < 0 {
				return time.Hour
			}
			return 100 * time.Microsecond
		}
		d.ask(t, 1, time.Millisecond)
		var locked sync.WaitGroup
		for range min(runtime.GOMAXPROCS(0)+1, 4) { // as many as may be recent
			locked.Go(func() { _, _ = d.Do(t.Context(), -1) })
		}
		synctest.Wait()
		start := time.Now()
		if slowest := d.ask(t, 8, time.Second); slowest > 21*time.Millisecond {
			t.Errorf("a caller waited %v for statements that wait for a lock", slowest)
		}
		if took := time.Since(start); took > 2*time.Second {
			t.Errorf("it took %v", took)
		}
		locked.Wait()
	})
}

// TestGroupsShareSlots: together they have no more statements under way than there are
// slots, and neither waits for the other's queue to be empty.
func TestGroupsShareSlots(t *testing.T) {
	t.Parallel()
	for _, slots := range []int{1, 2, 3} {
		synctest.Test(t, func(t *testing.T) {
			shared := coalesce.NewSlots(slots, unreachable)
			var mu sync.Mutex
			underWay := 0
			count := func(by int) {
				mu.Lock()
				defer mu.Unlock()
				if underWay += by; underWay > slots {
					t.Errorf("%d statements under way; want %d", underWay, slots)
				}
			}
			const takes = 10 * time.Millisecond
			gets, sets := newDistant(shared, takes), newDistant(shared, takes)
			for _, d := range []*distant{gets, sets} {
				batch, single := d.Batch, d.Single
				d.Batch = func(ctx context.Context, calls []coalesce.Call[int, int]) {
					count(1)
					defer count(-1)
					batch(ctx, calls)
				}
				d.Single = func(ctx context.Context, n int) (int, error) {
					count(1)
					defer count(-1)
					return single(ctx, n)
				}
			}
			var all sync.WaitGroup
			for _, d := range []*distant{gets, sets} {
				all.Go(func() {
					// One statement of its own, and one of each for those who came before.
					if slowest := d.ask(t, 32, time.Second); slowest > 4*takes {
						t.Errorf("%d slots: a caller waited %v", slots, slowest)
					}
				})
			}
			all.Wait()
		})
	}
}
