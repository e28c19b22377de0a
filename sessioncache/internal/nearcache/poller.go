package nearcache

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rhaptos/sessiondb/sessioncache/sid"
)

const (
	// interval is from one poll's start to the next one's. Two fit into Fresh, so that
	// calls do not wait unless a poll is slow.
	interval = Fresh / 2

	// maxPause is the longest pause after a poll has failed.
	maxPause = time.Second
)

// The values of poller.state. Only the goroutine makes it idle.
const (
	idle    uint32 = iota // there is no goroutine
	running               // there is one
	used                  // and there was a call since it last looked
)

// poller polls the feed on a goroutine that runs while there are calls or subscribers.
type poller struct {
	feed    Feed
	timeout time.Duration
	report  func(error)
	now     func() Instant
	apply   func(poll uint64, start Instant, changes Changes) (emptied bool)
	disable func()

	state atomic.Uint32
	begun atomic.Uint64 // the number of the last poll that has begun; stored with mu held

	_ [128]byte // every hit reads what is above

	mu       sync.Mutex
	current  *round        // the poll under way, nil if there is none
	next     *round        // the poll that callers wait for and that has not begun, nil if none do
	wake     chan struct{} // ends the goroutine's pause; holds something while next is not nil
	topics   map[sid.ID]*topic
	failures int // polls in a row that have failed
	failed   uint64
}

// round is a poll to those who wait for it.
type round struct {
	done    chan struct{} // closed at its end
	applied bool          // set before that
}

// use notes a call. It writes nothing, and so leaves the cache line to all processors,
// unless it is the first call since the goroutine last looked.
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

// join returns the poll under way, or else the one to begin at once. It returns nil while
// polls fail.
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

// run polls until nobody has asked for anything since the last poll.
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

// stop makes the poller idle if nobody needs it.
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
	start := p.now() // before the feed is asked, and after begin, which callers may wait for
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

// begin makes next the poll under way: from here on nobody can join it as one that has
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

// fail ends a poll that has not been applied. Nobody waits for the next one: while a poll
// is under way callers join that.
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

// end releases those who wait for the poll under way. The caller holds mu.
func (p *poller) end(applied bool) {
	p.current.applied = applied
	close(p.current.done)
	p.current = nil
}

// backoff is the pause after so many polls in a row have failed: it doubles, from the
// interval up to maxPause.
func backoff(failures int) time.Duration {
	return min(interval<<min(failures-1, 10), maxPause)
}

// tell reports the feed's new state.
func (p *poller) tell(err error) {
	if p.report != nil {
		<-guard(func() error { p.report(err); return nil }) // a panic of the reporter must not end the polling
	}
}
