// Package coalesce answers calls that would have to wait for a connection in batches
// (natural batching).
//
// A call that finds a free slot sends its own statement at once. Otherwise calls queue,
// and the next free slot takes all of them in one batch. No call waits for a batch to
// fill up, and an idle group costs nothing. The busier a group is, the larger are its
// batches, and the less a call costs.
package coalesce

import (
	"context"
	"errors"
	"runtime"
	"slices"
	"time"
)

// errGoexit is the error of a batch whose goroutine ended before it was answered.
var errGoexit = errors.New("the goroutine that ran the batch was ended")

// Call is one call in a batch.
type Call[K, V any] struct {
	Key K

	// Value or Err is the call's result. Err is already set if the caller has gone: then
	// the key needs no answer.
	Value V
	Err   error

	ctx context.Context
}

// Group answers keys with values, one by one on the caller's goroutine, or in batches.
//
// The exported fields are set before the first call of Do. Several goroutines may call
// the functions at once.
type Group[K, V any] struct {
	// Limit is the largest number of calls in a batch.
	Limit int

	// Single answers one key.
	Single func(ctx context.Context, key K) (V, error)

	// Batch answers two calls or more. A panic in it is passed to all callers.
	Batch func(ctx context.Context, calls []Call[K, V])

	slots *Slots

	// slots.mu guards the rest.
	batches []*batch[K, V] // waiting batches, oldest first
	sent    []time.Time    // when the statements under way were sent, oldest first
}

// Share makes the group take its slots from slots. Call it once, before the first call
// of Do.
func (g *Group[K, V]) Share(slots *Slots) {
	g.slots = slots
	slots.queues = append(slots.queues, g)
}

// batch is calls that are answered together.
type batch[K, V any] struct {
	ctx      context.Context // the first caller's context values, without its cancellation
	calls    []Call[K, V]
	panicked any           // the value of a panic in Group.Batch
	done     chan struct{} // closed once the calls are answered

	// Slots.mu guards the rest.
	waiting int                // callers that have not gone
	cancel  context.CancelFunc // nil until the batch is sent
}

// Do answers a key, alone or in a batch. It returns as soon as ctx ends, with ctx's
// error; the other calls of the batch go on. A batch is cancelled when all of its
// callers have gone.
func (g *Group[K, V]) Do(ctx context.Context, key K) (V, error) {
	g.slots.mu.Lock()
	if g.empty() {
		if sent, ok := g.slots.take(g); ok {
			g.slots.mu.Unlock()
			return g.single(ctx, key, sent)
		}
	}
	b, i := g.join(ctx, key)
	g.slots.mu.Unlock()

	select {
	case <-b.done:
		if b.panicked != nil {
			panic(b.panicked)
		}
		return b.calls[i].Value, b.calls[i].Err
	case <-ctx.Done():
		g.leave(b)
		var none V
		return none, ctx.Err()
	}
}

// single answers a call that has found a slot.
func (g *Group[K, V]) single(ctx context.Context, key K, sent time.Time) (V, error) {
	defer g.slots.release(g, sent)
	return g.Single(ctx, key)
}

// join adds a call to the last batch of the queue. The caller holds mu.
func (g *Group[K, V]) join(ctx context.Context, key K) (b *batch[K, V], i int) {
	if last := len(g.batches) - 1; last >= 0 && len(g.batches[last].calls) < g.Limit {
		b = g.batches[last]
	} else {
		b = &batch[K, V]{ctx: context.WithoutCancel(ctx), done: make(chan struct{})}
		g.batches = append(g.batches, b)
	}
	b.calls = append(b.calls, Call[K, V]{Key: key, ctx: ctx})
	b.waiting++
	return b, len(b.calls) - 1
}

// leave removes a caller that does not wait for its result any more. It drops or cancels
// a batch that nobody waits for.
func (g *Group[K, V]) leave(b *batch[K, V]) {
	g.slots.mu.Lock()
	defer g.slots.mu.Unlock()
	b.waiting--
	switch {
	case b.waiting > 0:
	case b.cancel != nil:
		b.cancel()
	default:
		i := slices.Index(g.batches, b)
		g.batches = slices.Delete(g.batches, i, i+1)
	}
}

// empty reports whether no call waits.
func (g *Group[K, V]) empty() bool {
	return len(g.batches) == 0
}

func (g *Group[K, V]) underWay() *[]time.Time {
	return &g.sent
}

func (g *Group[K, V]) send(sent time.Time) {
	b := g.batches[0]
	g.batches = slices.Delete(g.batches, 0, 1)
	var ctx context.Context
	ctx, b.cancel = context.WithCancel(b.ctx)
	go func() {
		defer g.slots.release(g, sent)
		g.answer(ctx, b)
		// Callers that have just been answered can ask again before the next batch is sent.
		runtime.Gosched()
	}()
}

// answer answers a batch. A panic, for example in a tracer's hook, is passed to the
// callers, whose goroutines may recover, as an HTTP server does. On this goroutine it
// would end the program.
func (g *Group[K, V]) answer(ctx context.Context, b *batch[K, V]) {
	returned := false
	defer func() {
		b.panicked = recover()
		if !returned && b.panicked == nil { // runtime.Goexit, which testing's FailNow calls
			for i := range b.calls {
				b.calls[i].Err = errGoexit
			}
		}
		b.cancel()
		close(b.done)
	}()
	for i := range b.calls {
		b.calls[i].Err = b.calls[i].ctx.Err()
	}
	if len(b.calls) == 1 {
		call := &b.calls[0]
		call.Value, call.Err = g.Single(ctx, call.Key)
	} else {
		g.Batch(ctx, b.calls)
	}
	returned = true
}
