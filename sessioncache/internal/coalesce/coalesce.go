// Package coalesce lets callers who would have to wait for a connection share a
// round trip to the database.
//
// Think of a lift with a few cabins (slots). Whoever finds a cabin waiting rides
// at once and alone. When all are under way, people queue; the next cabin that
// comes back takes everybody who waits then, in one ride. Nobody waits for a cabin
// to fill up: there is no timer, and an idle lift costs nothing. The busier it is,
// the fuller the cabins, and the cheaper a ride.
package coalesce

import (
	"context"
	"errors"
	"runtime"
	"slices"
	"sync"
)

// errGoexit is the error of a batch whose goroutine ended before it was answered.
var errGoexit = errors.New("the goroutine that ran the batch was ended")

// Group takes questions of type Q to answers of type A. A caller either asks
// alone, on its own goroutine, or rides in a batch.
//
// The exported fields are set before the first call of Do. The functions may be
// called from several goroutines at once, at most Slots of them.
type Group[Q, A any] struct {
	// Slots is how many calls of Alone and Together may be under way at once.
	Slots int

	// Limit is how many may ride in one batch.
	Limit int

	// Alone answers one question.
	Alone func(ctx context.Context, question Q) (A, error)

	// Together answers several questions, the i-th in answers[i]. An error is
	// everybody's, and so is a panic.
	Together func(ctx context.Context, questions []Q, answers []A) error

	mu    sync.Mutex
	busy  int            // slots in use
	queue []*batch[Q, A] // who waits, longest first; empty unless all slots are busy
}

// batch is a ride that several callers share.
type batch[Q, A any] struct {
	ctx       context.Context // the first caller's values, a trace say, but not its end
	questions []Q
	answers   []A
	err       error
	panicked  any           // what Together has panicked with
	done      chan struct{} // closed once these are set

	// Group.mu guards the rest.
	waiting int                // callers who have not given up
	cancel  context.CancelFunc // nil until the batch is under way
}

// Do answers a question, alone or together with others. It returns as soon as
// ctx ends, with ctx's error; those who ride along do not notice. What a batch
// does is cancelled when the last of its callers has gone.
func (g *Group[Q, A]) Do(ctx context.Context, question Q) (A, error) {
	g.mu.Lock()
	if g.busy < g.Slots {
		g.busy++
		g.mu.Unlock()
		defer g.release()
		return g.Alone(ctx, question)
	}
	b, seat := g.join(ctx, question)
	g.mu.Unlock()

	select {
	case <-b.done:
		if b.panicked != nil {
			panic(b.panicked)
		}
		return b.answers[seat], b.err
	case <-ctx.Done():
		g.leave(b)
		var none A
		return none, ctx.Err()
	}
}

// join takes a seat in the last batch of the queue. The caller holds mu.
func (g *Group[Q, A]) join(ctx context.Context, question Q) (b *batch[Q, A], seat int) {
	if last := len(g.queue) - 1; last >= 0 && len(g.queue[last].questions) < g.Limit {
		b = g.queue[last]
	} else {
		// Batches that everybody has left do not pile up, however long nothing moves.
		g.queue = slices.DeleteFunc(g.queue, func(b *batch[Q, A]) bool { return b.waiting == 0 })
		b = &batch[Q, A]{ctx: context.WithoutCancel(ctx), done: make(chan struct{})}
		g.queue = append(g.queue, b)
	}
	b.questions = append(b.questions, question)
	b.waiting++
	return b, len(b.questions) - 1
}

// leave is a caller's way out before the answer has come.
func (g *Group[Q, A]) leave(b *batch[Q, A]) {
	g.mu.Lock()
	defer g.mu.Unlock()
	b.waiting--
	if b.waiting == 0 && b.cancel != nil {
		b.cancel()
	}
}

// release gives back the slot of a caller who asked alone: to those who wait, or
// else to whoever comes.
func (g *Group[Q, A]) release() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.queue) == 0 {
		g.busy--
	} else {
		go g.run()
	}
}

// run has a slot, and takes batch after batch until nobody waits. If Together ends its
// goroutine (runtime.Goexit, which testing's FailNow is), another one takes the slot.
func (g *Group[Q, A]) run() {
	done := false
	defer func() {
		if !done {
			go g.run()
		}
	}()
	for {
		b, ctx := g.next()
		if b == nil {
			done = true
			return
		}
		g.ride(ctx, b)
		// Let those who have their answers ask again before the next batch leaves
		// without them.
		runtime.Gosched()
	}
}

// ride has a batch answered. A panic, in a tracer's hook say, goes to the callers:
// where each of them runs there may be somebody to recover from it, an HTTP server
// for one; here there is nobody, and the whole program would end.
func (g *Group[Q, A]) ride(ctx context.Context, b *batch[Q, A]) {
	b.answers = make([]A, len(b.questions))
	b.err = errGoexit // unless Together returns
	defer func() {
		b.panicked = recover()
		b.cancel()
		close(b.done)
	}()
	b.err = g.Together(ctx, b.questions, b.answers)
}

// next takes the batch that has waited longest out of the queue. With none left
// it gives the slot back and returns nil.
func (g *Group[Q, A]) next() (*batch[Q, A], context.Context) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for len(g.queue) > 0 {
		b := g.queue[0]
		g.queue = slices.Delete(g.queue, 0, 1)
		if b.waiting > 0 {
			var ctx context.Context
			ctx, b.cancel = context.WithCancel(b.ctx)
			return b, ctx
		}
	}
	g.busy--
	return nil, nil
}
