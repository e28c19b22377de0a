package coalesce_test

import (
	"context"
	"errors"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rhaptos/sessiondb/sessioncache/internal/coalesce"
)

// lift is a Group whose questions and answers are numbers, n to 2n, and whose
// rides take as long as the test wants. The tests run in a bubble of their own
// time: a ride takes an hour of it.
type lift struct {
	coalesce.Group[int, int]

	mu      sync.Mutex
	alone   []int
	batches [][]int
	ends    []error // of the contexts of rides that did not arrive
}

var errBroken = errors.New("broken")

const (
	ride      = time.Hour
	broken    = -1 // a question that breaks the ride it is in
	explosive = -2 // a question that has it panic
)

func newLift(slots, limit int) *lift {
	l := &lift{}
	l.Slots, l.Limit = slots, limit
	l.Alone = func(ctx context.Context, n int) (int, error) {
		l.mu.Lock()
		l.alone = append(l.alone, n)
		l.mu.Unlock()
		if n == broken {
			panic(errBroken)
		}
		return 2 * n, l.travel(ctx)
	}
	l.Together = func(ctx context.Context, questions, answers []int) error {
		l.mu.Lock()
		l.batches = append(l.batches, questions)
		l.mu.Unlock()
		err := l.travel(ctx)
		for i, n := range questions {
			answers[i] = 2 * n
			switch n {
			case broken:
				err = errBroken
			case explosive:
				panic("bang")
			}
		}
		return err
	}
	return l
}

func (l *lift) travel(ctx context.Context) error {
	select {
	case <-time.After(ride):
		return nil
	case <-ctx.Done():
		l.mu.Lock()
		defer l.mu.Unlock()
		l.ends = append(l.ends, ctx.Err())
		return ctx.Err()
	}
}

// ask calls Do in the background and waits until it waits.
func (l *lift) ask(ctx context.Context, n int) *caller {
	c := &caller{done: make(chan struct{})}
	go func() {
		defer close(c.done)
		defer func() { c.panicked = recover() }()
		c.answer, c.err = l.Do(ctx, n)
		c.after = time.Now()
	}()
	synctest.Wait()
	return c
}

type caller struct {
	done   chan struct{}
	answer int
	err    error
	after  time.Time

	panicked any
}

func (c *caller) want(t *testing.T, answer int, err error) {
	t.Helper()
	<-c.done
	if c.answer != answer || !errors.Is(c.err, err) || c.panicked != nil {
		t.Errorf("got %d, %v, panic %v; want %d, %v", c.answer, c.err, c.panicked, answer, err)
	}
}

func TestAFreeSlotIsTakenAlone(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := newLift(2, 8)
		start := time.Now()
		a, b := l.ask(t.Context(), 1), l.ask(t.Context(), 2)
		a.want(t, 2, nil)
		b.want(t, 4, nil)
		if len(l.alone) != 2 || len(l.batches) != 0 || time.Since(start) != ride {
			t.Errorf("%v went alone and %v together, in %v", l.alone, l.batches, time.Since(start))
		}
	})
}

func TestThoseWhoWaitRideTogether(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := newLift(1, 3)
		start := time.Now()
		callers := []*caller{l.ask(t.Context(), 0)}
		for n := 1; n <= 5; n++ {
			callers = append(callers, l.ask(t.Context(), n))
		}
		for n, c := range callers {
			c.want(t, 2*n, nil)
		}
		// 0 alone, then 1 2 3 as many as may, then 4 5; first come, first served.
		if len(l.alone) != 1 || len(l.batches) != 2 || len(l.batches[0]) != 3 || l.batches[0][0] != 1 || len(l.batches[1]) != 2 {
			t.Errorf("%v went alone and %v together", l.alone, l.batches)
		}
		if time.Since(start) != 3*ride {
			t.Errorf("it took %v", time.Since(start))
		}
		synctest.Wait() // for the slot to be given back
		l.ask(t.Context(), 6).want(t, 12, nil)
		if len(l.alone) != 2 {
			t.Error("the slot was not given back")
		}
	})
}

func TestOneCallersEndIsNobodyElses(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := newLift(1, 8)
		first := l.ask(t.Context(), 1)
		leader, leaves := context.WithCancel(t.Context())
		follower, alsoLeaves := context.WithTimeout(t.Context(), ride+ride/2)
		defer alsoLeaves()
		a, b, c := l.ask(leader, 2), l.ask(follower, 3), l.ask(t.Context(), 4)
		first.want(t, 2, nil)

		// All three are under way now. The one whose context the batch has its values
		// of leaves, then another: at once, both.
		synctest.Wait()
		now := time.Now()
		leaves()
		a.want(t, 0, context.Canceled)
		if a.after != now {
			t.Errorf("it took a caller %v to leave", a.after.Sub(now))
		}
		b.want(t, 0, context.DeadlineExceeded)
		if b.after != now.Add(ride/2) {
			t.Errorf("a caller left %v after the start; want at its deadline", b.after.Sub(now))
		}
		c.want(t, 8, nil)
		if len(l.ends) != 0 {
			t.Errorf("the batch was cancelled: %v", l.ends)
		}
	})
}

func TestABatchThatAllHaveLeftIsCancelled(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := newLift(1, 8)
		first := l.ask(t.Context(), 1)
		ctx, leave := context.WithCancel(t.Context())
		a, b := l.ask(ctx, 2), l.ask(ctx, 3)
		first.want(t, 2, nil)
		synctest.Wait()
		leave()
		a.want(t, 0, context.Canceled)
		b.want(t, 0, context.Canceled)
		synctest.Wait()
		if len(l.ends) != 1 {
			t.Errorf("the batch that nobody waits for ended with %v; want it cancelled", l.ends)
		}
		start := time.Now()
		l.ask(t.Context(), 4).want(t, 8, nil)
		if time.Since(start) != ride {
			t.Errorf("the slot came back after %v", time.Since(start)-ride)
		}
	})
}

func TestThoseWhoLeftTheQueueDoNotRide(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := newLift(1, 2)
		first := l.ask(t.Context(), 0)
		ctx, leave := context.WithCancel(t.Context())
		for n := 1; n <= 100; n++ { // the lift is stuck, and everybody gives up
			l.ask(ctx, n)
		}
		leave()
		last := l.ask(t.Context(), 101)
		first.want(t, 0, nil)
		last.want(t, 202, nil)
		if len(l.batches) != 1 {
			t.Errorf("%d batches went for callers who had left", len(l.batches)-1)
		}
	})
}

func TestAnErrorIsItsBatchsOnly(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := newLift(1, 2)
		first := l.ask(t.Context(), 1)
		a, b := l.ask(t.Context(), broken), l.ask(t.Context(), 2)
		c, d := l.ask(t.Context(), 3), l.ask(t.Context(), 4)
		first.want(t, 2, nil)
		a.want(t, -2, errBroken)
		b.want(t, 4, errBroken)
		c.want(t, 6, nil)
		d.want(t, 8, nil)
	})
}

func TestAPanicGivesTheSlotBack(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := newLift(1, 2)
		func() {
			defer func() {
				if recover() == nil {
					t.Error("the panic did not reach its caller")
				}
			}()
			_, _ = l.Do(t.Context(), broken)
		}()
		l.ask(t.Context(), 1).want(t, 2, nil)
		if len(l.alone) != 2 {
			t.Errorf("%v went alone", l.alone)
		}
	})
}

func TestAPanicIsEverybodysInItsBatch(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := newLift(1, 2)
		first := l.ask(t.Context(), 1)
		together := []*caller{l.ask(t.Context(), explosive), l.ask(t.Context(), 2)}
		next := l.ask(t.Context(), 3)
		first.want(t, 2, nil)
		for _, c := range together {
			<-c.done
			if c.panicked != "bang" {
				t.Errorf("got %d, %v, panic %v; want a panic", c.answer, c.err, c.panicked)
			}
		}
		next.want(t, 6, nil)
	})
}

// TestNobodyStarves keeps more callers coming than a batch holds, and looks how
// long each has waited.
func TestNobodyStarves(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := newLift(2, 4)
		const callers, rounds = 32, 20
		var all sync.WaitGroup
		for n := range callers {
			all.Go(func() {
				for range rounds {
					start := time.Now()
					if answer, err := l.Do(t.Context(), n); err != nil || answer != 2*n {
						t.Errorf("%d, %v", answer, err)
					}
					// 32 callers in 2 cabins of 4: the whole queue is served in 4 rides.
					if waited := time.Since(start); waited > (callers/8+1)*ride {
						t.Errorf("a caller waited %v", waited)
					}
				}
			})
		}
		all.Wait()
	})
}

// TestNothingStaysWhenIdle looks for goroutines that a busy time has left behind.
// The bubble of the other tests would fail with them, too.
func TestNothingStaysWhenIdle(t *testing.T) {
	before := runtime.NumGoroutine()
	var group coalesce.Group[int, int]
	group.Slots, group.Limit = 2, 8
	var together atomic.Int64
	group.Alone = func(_ context.Context, n int) (int, error) { runtime.Gosched(); return n, nil }
	group.Together = func(_ context.Context, questions, answers []int) error {
		together.Add(int64(len(questions)))
		runtime.Gosched()
		copy(answers, questions)
		return nil
	}
	var all sync.WaitGroup
	for caller := range 64 {
		all.Go(func() {
			for i := range 1000 {
				want := caller*1000 + i
				if n, err := group.Do(t.Context(), want); err != nil || n != want {
					t.Errorf("got %d, %v; want %d", n, err, want)
				}
			}
		})
	}
	all.Wait()
	if together.Load() == 0 {
		t.Error("nobody rode together")
	}
	for deadline := time.Now().Add(10 * time.Second); runtime.NumGoroutine() > before; runtime.Gosched() {
		if time.Now().After(deadline) {
			t.Fatalf("there were %d goroutines and are %d", before, runtime.NumGoroutine())
		}
	}
}

// BenchmarkAlone is what the group costs a caller who finds a free slot.
func BenchmarkAlone(b *testing.B) {
	var group coalesce.Group[int, int]
	group.Slots, group.Limit = 1, 64
	group.Alone = func(_ context.Context, n int) (int, error) { return n, nil }
	b.ReportAllocs()
	for b.Loop() {
		_, _ = group.Do(b.Context(), 1)
	}
}

// BenchmarkTogether is what it costs a caller of many.
func BenchmarkTogether(b *testing.B) {
	var group coalesce.Group[int, int]
	group.Slots, group.Limit = 1, 64
	group.Alone = func(_ context.Context, n int) (int, error) { runtime.Gosched(); return n, nil }
	group.Together = func(context.Context, []int, []int) error { return nil }
	b.ReportAllocs()
	b.SetParallelism(64)
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			_, _ = group.Do(b.Context(), 1)
		}
	})
}

// TestGoexitKeepsTheSlot ends the goroutine of a batch, as a failing test in a hook
// does: its callers get an error, and the slot is not lost.
func TestGoexitKeepsTheSlot(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		exits := 0
		g := &coalesce.Group[int, int]{
			Slots: 1, Limit: 4,
			Alone: func(_ context.Context, question int) (int, error) {
				time.Sleep(time.Hour)
				return question, nil
			},
			Together: func(_ context.Context, questions, answers []int) error {
				if exits++; exits <= 2 {
					runtime.Goexit()
				}
				copy(answers, questions)
				return nil
			},
		}
		failed := 0
		var mu sync.Mutex
		var all sync.WaitGroup
		for i := range 13 {
			all.Go(func() {
				answer, err := g.Do(t.Context(), i)
				mu.Lock()
				defer mu.Unlock()
				if err != nil {
					failed++
				} else if answer != i {
					t.Errorf("Do(%d) = %d", i, answer)
				}
			})
		}
		all.Wait()
		if failed != 8 {
			t.Errorf("%d callers failed; want those of two batches of 4", failed)
		}
		if answer, err := g.Do(t.Context(), 1); answer != 1 || err != nil {
			t.Errorf("Do after that = %d, %v", answer, err)
		}
	})
}
