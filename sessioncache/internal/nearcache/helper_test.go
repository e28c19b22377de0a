package nearcache_test

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rhaptos/sessiondb/sessioncache/internal/nearcache"
	"github.com/rhaptos/sessiondb/sid"
)

// server is the one that answers polls and lookups, unless a test says otherwise.
const server = 1

// clock is a pair of clocks that a test may set. They go with the time of the bubble.
type clock struct {
	mono, wall atomic.Int64
	next       atomic.Pointer[func()] // called by the next call of Now
}

func (c *clock) Now() nearcache.Instant {
	if next := c.next.Swap(nil); next != nil {
		(*next)()
	}
	now := time.Now().UnixNano()
	return nearcache.Instant{Mono: now + c.mono.Load(), Wall: now + c.wall.Load()}
}

// feed is a feed whose polls a test determines. The first poll resets memory.
type feed struct {
	mu      sync.Mutex
	answer  func(ctx context.Context) (nearcache.Changes, error) // of the next polls; nil: no changes
	delay   time.Duration
	started []time.Duration // since the feed was made
	applied int
	made    time.Time
}

func (f *feed) Poll(ctx context.Context) (nearcache.Changes, error) {
	f.mu.Lock()
	f.started = append(f.started, time.Since(f.made))
	first, answer, delay := len(f.started) == 1, f.answer, f.delay
	f.mu.Unlock()
	time.Sleep(delay)
	if answer != nil {
		return answer(ctx)
	}
	return nearcache.Changes{Server: server, Reset: first}, nil
}

func (f *feed) Applied() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.applied++
}

// answers sets what polls answer from now on.
func (f *feed) answers(changes nearcache.Changes, err error) {
	f.calls(func(context.Context) (nearcache.Changes, error) { return changes, err })
}

// calls sets what polls call from now on.
func (f *feed) calls(answer func(context.Context) (nearcache.Changes, error)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.answer = answer
}

// takes sets how long polls take from now on.
func (f *feed) takes(d time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.delay = d
}

// starts returns when polls have started.
func (f *feed) starts() []time.Duration {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.started)
}

func (f *feed) appliedPolls() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.applied
}

// bundle is what a test works with.
type bundle struct {
	*testing.T
	*nearcache.Cache[string]
	feed  *feed
	clock *clock
	id    sid.ID

	mu      sync.Mutex
	reports []error
}

// run runs a test in a bubble, with a Cache that a poll has been applied to at time 0.
func run(t *testing.T, test func(b *bundle)) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := setup(t)
		b.get(false)
		synctest.Wait()
		test(b)
	})
}

// setup returns a Cache that has not polled yet. The test runs in a bubble.
func setup(t *testing.T) *bundle {
	b := &bundle{T: t, feed: &feed{made: time.Now()}, clock: &clock{}, id: sid.New()}
	b.Cache = nearcache.New[string](nearcache.Config{
		Entries: 100,
		Feed:    b.feed,
		Now:     b.clock.Now,
		Report: func(err error) {
			b.mu.Lock()
			defer b.mu.Unlock()
			b.reports = append(b.reports, err)
		},
	})
	t.Cleanup(b.idle)
	return b
}

// idle checks that polling ends when nobody asks for anything. A goroutine that is left
// fails the test, too.
func (b *bundle) idle() {
	time.Sleep(2 * time.Second)
	before := len(b.feed.starts())
	time.Sleep(2 * time.Second)
	if after := len(b.feed.starts()); after != before {
		b.Errorf("%d polls while nobody asks for anything", after-before)
	}
}

func (b *bundle) reported() []error {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.reports)
}

// keep keeps a value for id, which must be possible.
func (b *bundle) keep() {
	b.Helper()
	if !b.tryKeep() {
		b.Fatal("the value was not kept")
	}
}

// tryKeep looks id up, which takes no time, and tells whether its value was kept.
func (b *bundle) tryKeep() bool {
	value := "value"
	return b.Keep(b.Begin(), server, false, b.id, &value, time.Hour)
}

// get checks whether Get finds a value for id.
func (b *bundle) get(want bool) {
	b.Helper()
	if value, _, ok := b.Get(b.Context(), b.id); ok != want || ok && *value != "value" {
		b.Errorf("Get: %v, want %v", ok, want)
	}
}

// waits checks how many calls of Get have waited for a poll so far.
func (b *bundle) waits(want uint64) {
	b.Helper()
	if got := b.Stats().Waits; got != want {
		b.Errorf("%d calls have waited; want %d", got, want)
	}
}

// elapsed checks how long something has taken.
func (b *bundle) elapsed(start time.Time, want time.Duration) {
	b.Helper()
	if got := time.Since(start); got != want {
		b.Errorf("it took %v; want %v", got, want)
	}
}

// polls checks when polls have started.
func (b *bundle) polls(want ...time.Duration) {
	b.Helper()
	if got := b.feed.starts(); !slices.Equal(got, want) {
		b.Errorf("polls at %v; want %v", got, want)
	}
}

const ms = time.Millisecond

// changes makes polls say that ids have changed.
func (b *bundle) changes(ids ...sid.ID) {
	b.feed.answers(nearcache.Changes{Server: server, Changed: ids}, nil)
}

// quiet is a feed without changes.
type quiet struct{}

func (quiet) Poll(context.Context) (nearcache.Changes, error) {
	return nearcache.Changes{Server: server}, nil
}

func (quiet) Applied() {}

var errBroken = errors.New("broken")
