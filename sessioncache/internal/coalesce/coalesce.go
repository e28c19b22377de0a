// Package coalesce answers callers who would have to wait for a connection with one
// statement together (natural batching).
//
// A caller who finds a free slot sends a statement at once, for itself alone. When
// there is none, callers queue, and the next free slot takes all who wait then, in one
// batch. Nobody waits for a batch to fill up, and an idle group costs nothing. The
// busier it is, the larger the batches, and the less a call costs.
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

// Call is one caller's part of a batch.
type Call[K, V any] struct {
	Key K

	// Value or Err is what the caller gets. Err is set before if the caller has gone: its
	// key needs no answer.
	Value V
	Err   error

	ctx context.Context
}

// Group answers keys with values. A caller either asks alone, on its own goroutine,
// or in a batch.
//
// The exported fields are set before the first call of Do. The functions may be
// called from several goroutines at once.
type Group[K, V any] struct {
	// Limit is how many calls a batch may have.
	Limit int

	// Single answers one key.
	Single func(ctx context.Context, key K) (V, error)

	// Batch answers two calls or more. A panic is everybody's.
	Batch func(ctx context.Context, calls []Call[K, V])

	slots *Slots

	// slots.mu guards the rest.
	batches []*batch[K, V] // those that wait, longest first
	sent    recent
}

// Share has the group take its slots from those of others. It is called before the
// first call of Do, once.
func (g *Group[K, V]) Share(slots *Slots) {
	g.slots = slots
	slots.queues = append(slots.queues, g)
}

// batch is the calls that are answered together.
type batch[K, V any] struct {
	ctx      context.Context // the first caller's values, a trace say, but not its end
	calls    []Call[K, V]
	panicked any           // what Group.Batch has panicked with
	done     chan struct{} // closed once the calls are answered

	// Slots.mu guards the rest.
	waiting int                // callers who have not gone
	cancel  context.CancelFunc // nil until the batch is sent
}

// answered is how many calls got a value.
func (b *batch[K, V]) answered() (n int) {
	for i := range b.calls {
		if b.calls[i].Err == nil {
			n++
		}
	}
	return n
}

// Do answers a key, alone or together with others. It returns as soon as ctx ends,
// with ctx's error; the others in the batch do not notice. A batch is cancelled when
// the last of its callers has gone.
func (g *Group[K, V]) Do(ctx context.Context, key K) (V, error) {
	g.slots.mu.Lock()
	if g.empty() {
		if sent, ok := g.slots.take(g); ok {
			g.slots.mu.Unlock()
			return g.single(ctx, key, sent)
		}
	}
	b, i := g.join(ctx, key)
	g.slots.arm(g)
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

// single answers a caller who has found a slot.
func (g *Group[K, V]) single(ctx context.Context, key K, sent time.Time) (value V, err error) {
	answered := 0
	defer func() { g.slots.release(g, sent, answered) }()
	if value, err = g.Single(ctx, key); err == nil {
		answered = 1
	}
	return value, err
}

// join adds a call to the last batch of the queue. The caller holds mu.
func (g *Group[K, V]) join(ctx context.Context, key K) (b *batch[K, V], i int) {
	if last := len(g.batches) - 1; last >= 0 && len(g.batches[last].calls) < g.Limit {
		b = g.batches[last]
	} else {
		// Batches that everybody has left do not pile up, however long nothing moves.
		g.batches = slices.DeleteFunc(g.batches, func(b *batch[K, V]) bool { return b.waiting == 0 })
		b = &batch[K, V]{ctx: context.WithoutCancel(ctx), done: make(chan struct{})}
		g.batches = append(g.batches, b)
	}
	b.calls = append(b.calls, Call[K, V]{Key: key, ctx: ctx})
	b.waiting++
	return b, len(b.calls) - 1
}

// leave is a caller's way out before the answer has come.
func (g *Group[K, V]) leave(b *batch[K, V]) {
	g.slots.mu.Lock()
	defer g.slots.mu.Unlock()
	b.waiting--
	if b.waiting == 0 && b.cancel != nil {
		b.cancel()
	}
}

// empty tells whether nobody waits.
func (g *Group[K, V]) empty() bool {
	for len(g.batches) > 0 && g.batches[0].waiting == 0 {
		g.batches = slices.Delete(g.batches, 0, 1)
	}
	return len(g.batches) == 0
}

func (g *Group[K, V]) recent() *recent {
	return &g.sent
}

func (g *Group[K, V]) send(sent time.Time) {
	b := g.batches[0]
	g.batches = slices.Delete(g.batches, 0, 1)
	var ctx context.Context
	ctx, b.cancel = context.WithCancel(b.ctx)
	go func() {
		defer func() { g.slots.release(g, sent, b.answered()) }()
		g.answer(ctx, b)
		// Those who have their answers ask again before the next batch is sent without them.
		runtime.Gosched()
	}()
}

// answer has a batch answered. A panic, in a tracer's hook say, goes to the callers:
// where each of them runs there may be somebody to recover from it, an HTTP server
// for one; here there is nobody, and the whole program would end.
func (g *Group[K, V]) answer(ctx context.Context, b *batch[K, V]) {
	returned := false
	defer func() {
		b.panicked = recover()
		if !returned && b.panicked == nil { // runtime.Goexit, which testing's FailNow is
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
