package nearcache

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rhaptos/sessiondb/sid"
)

const (
	// interval is the time from the start of one poll to the start of the next. Two fit
	// into Fresh, so that calls wait only if a poll is slow.
	interval = Fresh / 2

	// maxPause is the longest pause after a failed poll.
	maxPause = time.Second
)

// The values of poller.state. Only the goroutine makes it idle.
const (
	idle    uint32 = iota // there is no goroutine
	running               // there is one
	used                  // there is one, and there was a call since it last looked
)

// poller polls the feed in a goroutine that runs while there are calls or subscribers.
type poller struct {
	feed    Feed
	timeout time.Duration
	report  func(error)
	now     func() Instant
	apply   func(poll uint64, start Instant, changes Changes) (emptied bool)
	disable func()

	state atomic.Uint32
	begun atomic.Uint64 // the number of the last poll that has begun; stored with mu held

	_ [128]byte // keeps the fields above, which every hit reads, in cache lines of their own

	mu       sync.Mutex
	current  *round        // the poll under way, nil if there is none
	next     *round        // the next poll, if callers wait for it; otherwise nil
	wake     chan struct{} // ends the goroutine's pause; holds something while next is not nil
	topics   map[sid.ID]*topic
	failures int // polls in a row that have failed
	failed   uint64
}

// round is one poll, for the calls that wait for it.
type round struct {
	done    chan struct{} // closed when the poll ends
	applied bool          // set before done is closed
}

// use records a call. Only the first call since the goroutine last looked writes, so
// the cache line stays shared between CPUs.
func (p *poller) use() {
	if p.state.Load() == used || p.state.CompareAndSwap(running, used) {
		return
	}
	p.start()
}

// start starts the goroutine unless there is one.
func (p *poller) start() {
	if p.state.CompareAndSwap(idle, running) {
		go p.run()
	}
}

// wait waits for the poll under way, or else for one that begins. It returns false if
// the poll fails, or ctx ends, and at once while polls fail.
func (p *poller) wait(ctx context.Context) bool {
	r := p.join()
	if r == nil {
		return false
	}
	select {
	case <-r.done:
		return r.applied
	case <-ctx.Done():
		return false
	}
}

// join returns the poll under way, or else the next one. It returns nil while polls
// fail.
func (p *poller) join() *round {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.failures > 0 {
		return nil
	}
	if p.current != nil {
		return p.current
	}
	if p.next == nil {
		p.next = newRound()
		p.wake <- struct{}{}
	}
	p.start()
	return p.next
}

func newRound() *round {
	return &round{done: make(chan struct{})}
}

// run polls until there was no call since the last poll, and there is no subscriber.
func (p *poller) run() {
	timer := time.NewTimer(interval)
	defer timer.Stop()
	for {
		timer.Reset(interval)
		if pause := p.poll(); pause > 0 {
			timer.Reset(pause)
		}
		select {
		case <-timer.C:
		case <-p.wake:
		}
		if p.stop() {
			return
		}
	}
}

// stop makes the poller idle if it is not needed.
func (p *poller) stop() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.next == nil && len(p.topics) == 0 && p.state.CompareAndSwap(running, idle) {
		return true
	}
	p.state.Store(running)
	return false
}

// poll does one poll. It returns how long to pause if it has failed, or else 0.
func (p *poller) poll() (pause time.Duration) {
	number := p.begin()
	start := p.now() // after begin and before the feed is asked
	ctx, cancel := context.WithTimeout(context.Background(), p.timeout)
	defer cancel()
	var changes Changes
	answer := guard(func() (err error) {
		changes, err = p.feed.Poll(ctx)
		return err
	})
	select {
	case end := <-answer:
		if end.err != nil {
			return p.fail(end.err)
		}
	case <-ctx.Done(): // abandoned: the answer is not used
		pause = p.fail(ctx.Err())
		<-answer // one poll at a time
		return pause
	}
	emptied := p.apply(number, start, changes)
	if end := <-guard(func() error { p.feed.Applied(); return nil }); end.err != nil {
		return p.fail(end.err)
	}
	p.succeed(emptied, changes.Changed)
	return 0
}

// begin makes next the poll under way. From then on no call joins it as a poll that has
// not begun.
func (p *poller) begin() (number uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.current, p.next = p.next, nil
	if p.current == nil {
		p.current = newRound()
	}
	select {
	case <-p.wake:
	default:
	}
	return p.begun.Add(1)
}

// succeed ends a poll that has been applied.
func (p *poller) succeed(emptied bool, changed []sid.ID) {
	p.mu.Lock()
	restored := p.failures > 0
	p.failures = 0
	if emptied {
		p.notifyAll()
	} else {
		p.notify(changed)
	}
	p.end(true)
	p.mu.Unlock()
	if restored {
		p.tell(nil)
	}
}

// fail ends a poll that has not been applied. No call waits for the next poll: calls
// join a poll that is under way.
func (p *poller) fail(err error) (pause time.Duration) {
	p.disable()
	p.mu.Lock()
	p.failures++
	p.failed++
	first := p.failures == 1
	if first {
		p.notifyAll()
	}
	pause = backoff(p.failures)
	p.end(false)
	p.mu.Unlock()
	if first {
		p.tell(err)
	}
	return pause
}

// end releases the calls that wait for the poll under way. The caller holds mu.
func (p *poller) end(applied bool) {
	p.current.applied = applied
	close(p.current.done)
	p.current = nil
}

// backoff is the pause after this many failures in a row. It doubles from interval up
// to maxPause.
func backoff(failures int) time.Duration {
	return min(interval<<min(failures-1, 10), maxPause)
}

// tell reports the new state of the feed.
func (p *poller) tell(err error) {
	if p.report != nil {
		<-guard(func() error { p.report(err); return nil }) // a panic in report must not end the polling
	}
}
