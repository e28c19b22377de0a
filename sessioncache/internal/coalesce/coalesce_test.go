package coalesce_test

import (
	"context"
	"errors"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rhaptos/sessiondb/sessioncache/internal/coalesce"
)

// server is a Group whose keys and values are numbers, n to 2n, and whose statements
// take an hour. The tests run in a bubble of their own time.
type server struct {
	coalesce.Group[int, int]

	mu      sync.Mutex
	single  []int
	batches [][]int
	ends    []error // of the contexts of statements that were cancelled
}

var errBroken = errors.New("broken")

const (
	statement = time.Hour
	broken    = -1 // a key that breaks its statement
	explosive = -2 // a key that has it panic
)

func newServer(slots, limit int) *server {
	s := &server{}
	s.Limit = limit
	s.Single = func(ctx context.Context, n int) (int, error) {
		s.mu.Lock()
		s.single = append(s.single, n)
		s.mu.Unlock()
		switch n {
		case broken:
			return 0, errBroken
		case explosive:
			panic("bang")
		}
		return 2 * n, s.run(ctx)
	}
	s.Batch = func(ctx context.Context, calls []coalesce.Call[int, int]) {
		keys := make([]int, len(calls))
		for i := range calls {
			keys[i] = calls[i].Key
		}
		s.mu.Lock()
		s.batches = append(s.batches, keys)
		s.mu.Unlock()
		err := s.run(ctx)
		for i := range calls {
			calls[i].Value, calls[i].Err = 2*calls[i].Key, err
			switch calls[i].Key {
			case broken:
				calls[i].Err = errBroken
			case explosive:
				panic("bang")
			}
		}
	}
	s.Share(coalesce.NewSlots(slots))
	return s
}

func (s *server) run(ctx context.Context) error {
	select {
	case <-time.After(statement):
		return nil
	case <-ctx.Done():
		s.mu.Lock()
		defer s.mu.Unlock()
		s.ends = append(s.ends, ctx.Err())
		return ctx.Err()
	}
}

// ask calls Do in the background and waits until it waits.
func (s *server) ask(ctx context.Context, n int) *caller {
	c := &caller{done: make(chan struct{})}
	go func() {
		defer close(c.done)
		defer func() { c.panicked = recover() }()
		c.answer, c.err = s.Do(ctx, n)
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

func TestAFreeSlotIsTakenAtOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newServer(2, 8)
		start := time.Now()
		a, b := s.ask(t.Context(), 1), s.ask(t.Context(), 2)
		a.want(t, 2, nil)
		b.want(t, 4, nil)
		if len(s.single) != 2 || len(s.batches) != 0 || time.Since(start) != statement {
			t.Errorf("%v single, %v in batches, in %v", s.single, s.batches, time.Since(start))
		}
	})
}

func TestThoseWhoWaitShareABatch(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newServer(1, 3)
		start := time.Now()
		callers := []*caller{s.ask(t.Context(), 0)}
		for n := 1; n <= 5; n++ {
			callers = append(callers, s.ask(t.Context(), n))
		}
		for n, c := range callers {
			c.want(t, 2*n, nil)
		}
		// 0 by itself, then 1 2 3 as many as may, then 4 5; first come, first served.
		if len(s.single) != 1 || len(s.batches) != 2 || len(s.batches[0]) != 3 || s.batches[0][0] != 1 || len(s.batches[1]) != 2 {
			t.Errorf("%v single, %v in batches", s.single, s.batches)
		}
		if time.Since(start) != 3*statement {
			t.Errorf("it took %v", time.Since(start))
		}
		synctest.Wait() // for the slot to be given back
		s.ask(t.Context(), 6).want(t, 12, nil)
		if len(s.single) != 2 {
			t.Error("the slot was not given back")
		}
	})
}

func TestABatchOfOneIsSingle(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newServer(1, 8)
		first, second := s.ask(t.Context(), 1), s.ask(t.Context(), 2)
		first.want(t, 2, nil)
		second.want(t, 4, nil)
		if len(s.single) != 2 || len(s.batches) != 0 {
			t.Errorf("%v single, %v in batches", s.single, s.batches)
		}
	})
}

func TestACallersEndAffectsOnlyThatCaller(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newServer(1, 8)
		first := s.ask(t.Context(), 1)
		leader, leaves := context.WithCancel(t.Context())
		follower, alsoLeaves := context.WithTimeout(t.Context(), statement+statement/2)
		defer alsoLeaves()
		a, b, c := s.ask(leader, 2), s.ask(follower, 3), s.ask(t.Context(), 4)
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
		if b.after != now.Add(statement/2) {
			t.Errorf("a caller left %v after the start; want at its deadline", b.after.Sub(now))
		}
		c.want(t, 8, nil)
		if len(s.ends) != 0 {
			t.Errorf("the batch was cancelled: %v", s.ends)
		}
	})
}

// TestWhoHasGoneHasAnErrorOfItsOwn: a batch is told which calls need no answer.
func TestWhoHasGoneHasAnErrorOfItsOwn(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newServer(1, 8)
		var errs []error
		batch := s.Batch
		s.Batch = func(ctx context.Context, calls []coalesce.Call[int, int]) {
			for _, call := range calls {
				errs = append(errs, call.Err)
			}
			batch(ctx, calls)
		}
		first := s.ask(t.Context(), 1)
		ctx, leave := context.WithCancel(t.Context())
		gone, other, another := s.ask(ctx, 2), s.ask(t.Context(), 3), s.ask(t.Context(), 4)
		leave()
		gone.want(t, 0, context.Canceled)
		first.want(t, 2, nil)
		other.want(t, 6, nil)
		another.want(t, 8, nil)
		if want := []error{context.Canceled, nil, nil}; !slices.Equal(errs, want) {
			t.Errorf("the batch has %v; want %v", errs, want)
		}
	})
}

func TestABatchThatAllHaveLeftIsCancelled(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newServer(1, 8)
		first := s.ask(t.Context(), 1)
		ctx, leave := context.WithCancel(t.Context())
		a, b := s.ask(ctx, 2), s.ask(ctx, 3)
		first.want(t, 2, nil)
		synctest.Wait()
		leave()
		a.want(t, 0, context.Canceled)
		b.want(t, 0, context.Canceled)
		synctest.Wait()
		if len(s.ends) != 1 {
			t.Errorf("the batch that nobody waits for ended with %v; want it cancelled", s.ends)
		}
		start := time.Now()
		s.ask(t.Context(), 4).want(t, 8, nil)
		if time.Since(start) != statement {
			t.Errorf("the slot came back after %v", time.Since(start)-statement)
		}
	})
}

func TestThoseWhoLeftTheQueueAreNotAnswered(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newServer(1, 2)
		first := s.ask(t.Context(), 0)
		ctx, leave := context.WithCancel(t.Context())
		for n := 1; n <= 100; n++ { // the server is stuck, and everybody gives up
			s.ask(ctx, n)
		}
		leave()
		last := s.ask(t.Context(), 101)
		first.want(t, 0, nil)
		last.want(t, 202, nil)
		if len(s.batches) != 0 || len(s.single) != 2 {
			t.Errorf("%v single, %v in batches, for callers who had left", s.single, s.batches)
		}
	})
}

func TestAnErrorIsItsCallersOnly(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newServer(1, 2)
		first := s.ask(t.Context(), 1)
		a, b := s.ask(t.Context(), broken), s.ask(t.Context(), 2)
		c, d := s.ask(t.Context(), 3), s.ask(t.Context(), 4)
		first.want(t, 2, nil)
		a.want(t, -2, errBroken)
		b.want(t, 4, nil)
		c.want(t, 6, nil)
		d.want(t, 8, nil)
	})
}

func TestAPanicGivesTheSlotBack(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newServer(1, 2)
		func() {
			defer func() {
				if recover() == nil {
					t.Error("the panic did not reach its caller")
				}
			}()
			_, _ = s.Do(t.Context(), explosive)
		}()
		s.ask(t.Context(), 1).want(t, 2, nil)
		if len(s.single) != 2 {
			t.Errorf("%v single", s.single)
		}
	})
}

func TestAPanicIsEverybodysInItsBatch(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newServer(1, 2)
		first := s.ask(t.Context(), 1)
		batch := []*caller{s.ask(t.Context(), explosive), s.ask(t.Context(), 2)}
		next := s.ask(t.Context(), 3)
		first.want(t, 2, nil)
		for _, c := range batch {
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
		s := newServer(2, 4)
		const callers, rounds = 32, 20
		var all sync.WaitGroup
		for n := range callers {
			all.Go(func() {
				for range rounds {
					start := time.Now()
					if answer, err := s.Do(t.Context(), n); err != nil || answer != 2*n {
						t.Errorf("%d, %v", answer, err)
					}
					// 32 callers in 2 slots of 4: the whole queue is served in 4 batches of each.
					if waited := time.Since(start); waited > (callers/8+1)*statement {
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
	group, batched := newEcho(2, 8)
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
	if batched.Load() == 0 {
		t.Error("nobody shared a batch")
	}
	for deadline := time.Now().Add(10 * time.Second); runtime.NumGoroutine() > before; runtime.Gosched() {
		if time.Now().After(deadline) {
			t.Fatalf("there were %d goroutines and are %d", before, runtime.NumGoroutine())
		}
	}
}

// newEcho is a Group that answers a key with itself at once, and the number of calls in
// batches.
func newEcho(slots, limit int) (group *coalesce.Group[int, int], batched *atomic.Int64) {
	batched = new(atomic.Int64)
	group = &coalesce.Group[int, int]{
		Limit:  limit,
		Single: func(_ context.Context, n int) (int, error) { runtime.Gosched(); return n, nil },
		Batch: func(_ context.Context, calls []coalesce.Call[int, int]) {
			batched.Add(int64(len(calls)))
			runtime.Gosched()
			for i := range calls {
				calls[i].Value = calls[i].Key
			}
		},
	}
	group.Share(coalesce.NewSlots(slots))
	return group, batched
}

// BenchmarkSingle is what the group costs a caller who finds a free slot.
func BenchmarkSingle(b *testing.B) {
	group, _ := newEcho(1, 64)
	b.ReportAllocs()
	for b.Loop() {
		_, _ = group.Do(b.Context(), 1)
	}
}

// BenchmarkBatch is what it costs a caller of many.
func BenchmarkBatch(b *testing.B) {
	group, _ := newEcho(1, 64)
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
		s := newServer(1, 4)
		batch, exits := s.Batch, 0
		s.Batch = func(ctx context.Context, calls []coalesce.Call[int, int]) {
			if exits++; exits <= 2 {
				runtime.Goexit()
			}
			batch(ctx, calls)
		}
		failed := 0
		var mu sync.Mutex
		var all sync.WaitGroup
		for i := range 13 {
			all.Go(func() {
				answer, err := s.Do(t.Context(), i)
				mu.Lock()
				defer mu.Unlock()
				if err != nil {
					failed++
				} else if answer != 2*i {
					t.Errorf("Do(%d) = %d", i, answer)
				}
			})
		}
		all.Wait()
		if failed != 8 {
			t.Errorf("%d callers failed; want those of two batches of 4", failed)
		}
		if answer, err := s.Do(t.Context(), 1); answer != 2 || err != nil {
			t.Errorf("Do after that = %d, %v", answer, err)
		}
	})
}
