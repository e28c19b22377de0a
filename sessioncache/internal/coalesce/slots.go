package coalesce

import (
	"context"
	"runtime"
	"sync"
	"time"
)

// How many statements are under way depends on what they wait for. Near the server they
// wait for the CPU, or for the disk at a commit. There, more statements only make smaller
// batches, and each costs client and server a context switch. Far from the server they
// wait for the network, and some for a row lock: there, more statements help.
const (
	// Near the server, a group has at most this many recent statements under way, and at
	// most one more than there are CPUs. Far from it, all slots may be used.
	most = 4

	// A statement is recent for this long after it was sent. An older one waits for a lock.
	recentAge = 20 * time.Millisecond

	// The server is near if a statement took less than nearBound, and callBound for each of
	// its calls, within the last nearWindow.
	nearBound  = 400 * time.Microsecond
	callBound  = 4 * time.Microsecond
	nearWindow = 500 * time.Millisecond

	// While callers wait, the server is pinged at this interval if no statement was quick
	// enough: statements that commit may all be slow.
	pingInterval = 100 * time.Millisecond
	pingTimeout  = time.Second
)

// Slots bounds how many statements its groups have under way together. It runs nothing
// while no call waits, and needs no closing.
type Slots struct {
	limit int
	few   int                             // limit of recent statements of one group near the server
	ping  func(ctx context.Context) error // one round trip

	mu     sync.Mutex // guards the groups, too
	busy   int
	queues []queue
	next   int         // the index of the queue that is served next
	near   time.Time   // last time the server was near
	pinged time.Time   // last ping
	timer  *time.Timer // serves the queues when a statement is no longer recent; nil until one is needed
	armed  bool
}

// NewSlots returns limit slots, at least one. ping pings the server.
func NewSlots(limit int, ping func(ctx context.Context) error) *Slots {
	return &Slots{limit: max(1, limit), few: min(runtime.GOMAXPROCS(0)+1, most), ping: ping}
}

// queue is a group without its types. Its methods are called with mu held.
type queue interface {
	empty() bool
	recent() *recent
	send(sent time.Time) // sends the first batch, in a new goroutine
}

// take takes a slot. It fails if none is free, or if the server is near and the queue
// has too many recent statements. The caller holds mu, and passes the returned time to
// release.
func (s *Slots) take(q queue) (sent time.Time, ok bool) {
	if s.busy == s.limit {
		return sent, false
	}
	sent = time.Now()
	if q.recent().count(sent) >= s.few && s.isNear(sent) {
		return sent, false
	}
	q.recent().add(sent)
	s.busy++
	return sent, true
}

// isNear tells whether the server is near. It starts a ping in good time before that is
// too long ago.
func (s *Slots) isNear(now time.Time) bool {
	if now.Sub(s.near) >= pingInterval && now.Sub(s.pinged) >= pingInterval {
		s.pinged = now
		go s.pingServer()
	}
	return now.Sub(s.near) < nearWindow
}

func (s *Slots) pingServer() {
	ctx, cancel := context.WithTimeout(context.Background(), pingTimeout)
	defer cancel()
	start := time.Now()
	err := s.ping(ctx)
	s.mu.Lock()
	defer s.mu.Unlock()
	if err == nil {
		s.measure(start, 1)
	}
}

// measure records how long a statement with so many calls took. The caller holds mu.
func (s *Slots) measure(sent time.Time, calls int) {
	if now := time.Now(); now.Sub(sent) < nearBound+time.Duration(calls)*callBound {
		s.near = now
	}
}

// release gives a slot back after a statement that has answered so many calls.
func (s *Slots) release(q queue, sent time.Time, answered int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	q.recent().remove(sent)
	s.busy--
	if answered > 0 {
		s.measure(sent, answered)
	}
	s.serve()
}

// serve sends as many waiting batches as it may, from each queue in turn. The caller
// holds mu.
func (s *Slots) serve() {
	for i := 0; i < len(s.queues); i++ {
		at := (s.next + i) % len(s.queues)
		q := s.queues[at]
		if q.empty() {
			continue
		}
		sent, ok := s.take(q)
		if !ok {
			s.arm(q)
			continue
		}
		q.send(sent)
		s.next, i = (at+1)%len(s.queues), -1
	}
}

// arm makes the queues be served again when the oldest recent statement of q is no
// longer recent. If all slots are taken it does nothing, because release serves the
// queues. The caller holds mu.
func (s *Slots) arm(q queue) {
	if s.armed || s.busy == s.limit {
		return
	}
	s.armed = true
	now := time.Now()
	wait := q.recent().oldest(now).Add(recentAge).Sub(now)
	if s.timer == nil {
		s.timer = time.AfterFunc(wait, s.wake)
	} else {
		s.timer.Reset(wait)
	}
}

func (s *Slots) wake() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.armed = false
	s.serve()
}

// recent holds the times at which the recent statements of a group were sent. If there
// are more than it has room for, it holds the latest. A zero time is a free place.
type recent [most]time.Time

// count counts the recent statements.
func (r *recent) count(now time.Time) (n int) {
	for _, sent := range r {
		if now.Sub(sent) < recentAge {
			n++
		}
	}
	return n
}

// add adds a statement in place of the oldest one.
func (r *recent) add(sent time.Time) {
	oldest := 0
	for i := range r {
		if r[i].Before(r[oldest]) {
			oldest = i
		}
	}
	r[oldest] = sent
}

// remove removes a statement that is over.
func (r *recent) remove(sent time.Time) {
	for i := range r {
		if r[i].Equal(sent) {
			r[i] = time.Time{}
			return
		}
	}
}

// oldest is the time of the oldest recent statement, or now.
func (r *recent) oldest(now time.Time) (oldest time.Time) {
	oldest = now
	for _, sent := range r {
		if now.Sub(sent) < recentAge && sent.Before(oldest) {
			oldest = sent
		}
	}
	return oldest
}
