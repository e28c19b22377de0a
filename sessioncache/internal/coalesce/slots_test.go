package coalesce_test

import (
	"context"
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

const (
	few      = 3 // as in the package
	interval = 2 * time.Millisecond
)

// TestFewStatements: any number of slots makes the same batches of quick statements.
func TestFewStatements(t *testing.T) {
	t.Parallel()
	for _, slots := range []int{3, 15, 63} {
		synctest.Test(t, func(t *testing.T) {
			d := newDistant(coalesce.NewSlots(slots), 200*time.Microsecond)
			d.ask(t, 64, 100*time.Millisecond)
			if d.max != few {
				t.Errorf("%d slots: %d statements at once; want %d", slots, d.max, few)
			}
		})
	}
}

// TestSlowStatements: statements that wait for the network, for a disk or for CPUs that
// are busy with something else get one slot more in each interval that they take, and all
// slots in the end.
func TestSlowStatements(t *testing.T) {
	t.Parallel()
	for takes, want := range map[time.Duration]struct{ least, most int }{
		interval / 2:  {few, few},
		5 * interval:  {5, few + 5},
		50 * interval: {15, 15},
	} {
		synctest.Test(t, func(t *testing.T) {
			d := newDistant(coalesce.NewSlots(15), takes)
			// Callers that ask in step would share a batch or two.
			var all sync.WaitGroup
			for n := range 64 {
				all.Go(func() {
					for range 100 {
						time.Sleep(time.Duration(n+1) * takes / 64)
						_, _ = d.Do(t.Context(), n)
					}
				})
			}
			all.Wait()
			if d.max < want.least || d.max > want.most {
				t.Errorf("%s: %d statements at once; want %d to %d", takes, d.max, want.least, want.most)
			}
		})
	}
}

// TestOneMoreInEachInterval has all statements wait for a lock. Only the timer can send
// more of them.
func TestOneMoreInEachInterval(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const more = 3
		shared := coalesce.NewSlots(2 * (few + more))
		groups := []*distant{newDistant(shared, time.Hour), newDistant(shared, time.Hour)}
		var all sync.WaitGroup
		askEach := func() {
			for _, d := range groups {
				all.Go(func() { _, _ = d.Do(t.Context(), 1) })
				synctest.Wait()
			}
		}
		want := func(when string, want int) {
			t.Helper()
			synctest.Wait()
			for _, d := range groups {
				d.mu.Lock()
				if d.max != want {
					t.Errorf("%s %d statements are under way; want %d", when, d.max, want)
				}
				d.mu.Unlock()
			}
		}
		for range few {
			askEach()
		}
		for n := range more {
			askEach()
			time.Sleep(interval - 1)
			want("before the interval is over", few+n)
			time.Sleep(time.Nanosecond)
			want("when the interval is over", few+n+1)
		}
		all.Wait()
	})
}

// TestStatementsThatWaitForALock keep their slots, and others are hardly slower for it.
func TestStatementsThatWaitForALock(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const takes, call = 100 * time.Microsecond, 6 * time.Microsecond
		shared := coalesce.NewSlots(15)
		groups := []*distant{newDistant(shared, takes), newDistant(shared, takes)}
		var locked sync.WaitGroup
		for _, d := range groups {
			d.takes = func(key int) time.Duration {
				if key < 0 {
					return time.Hour
				}
				return takes
			}
			for range few {
				locked.Go(func() { _, _ = d.Do(t.Context(), -1) })
			}
			time.Sleep(interval / 2) // the second group's may go on later
		}
		var both sync.WaitGroup
		for _, d := range groups {
			both.Go(func() {
				if slowest := d.ask(t, 1, 100*time.Millisecond); slowest > interval+takes+call {
					t.Errorf("the first caller waited %v", slowest)
				}
				if slowest := d.ask(t, 1, 100*time.Millisecond); slowest != takes+call {
					t.Errorf("a caller by itself waited %v; want %v", slowest, takes+call)
				}
				if slowest := d.ask(t, 8, 100*time.Millisecond); slowest > interval+takes+8*call {
					t.Errorf("one of eight callers waited %v", slowest)
				}
			})
		}
		both.Wait()
		locked.Wait()
	})
}

// TestGroupsShareSlots: together they have no more statements under way than there are
// slots, and neither waits for the other's queue to be empty.
func TestGroupsShareSlots(t *testing.T) {
	t.Parallel()
	for _, slots := range []int{1, 2, 3} {
		synctest.Test(t, func(t *testing.T) {
			shared := coalesce.NewSlots(slots)
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
