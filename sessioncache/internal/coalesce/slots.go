package coalesce

import (
	"context"
	"runtime"
	"sync"
	"time"
)

// How many statements are under way depends on what they wait for. Near the server that
// is the CPU, and for a commit the disk: more statements only make the batches smaller,
// and each costs client and server a change of context. Far away it is the network, and
// for some a row lock, which another statement does not wait for.
const (
	// Near the server, one more recent statement of each group is under way than there are
	// CPUs, but no more than these. Far away there are as many as there are slots.
	most = 4

	// A statement is recent for as long as this after it was sent. An older one waits for
	// a lock.
	recentAge = 20 * time.Millisecond

	// The server is near if a statement took less than nearBound, and callBound for each of
	// its calls, within the last nearWindow.
	nearBound  = 400 * time.Microsecond
	callBound  = 4 * time.Microsecond
	nearWindow = 500 * time.Millisecond

	// While callers wait, the server is pinged so often if no statement tells that it is
	// near: all may take long because they commit.
	pingInterval = 100 * time.Millisecond
	pingTimeout  = time.Second
)

// Slots bounds how many statements its groups have under way together. Nothing of it
// runs while nobody waits, and it needs no closing.
type Slots struct {
	limit int
	few   int                             // of recent statements of one group, near the server
	ping  func(ctx context.Context) error // does nothing but a round trip

	mu     sync.Mutex // guards the groups, too
	busy   int
	queues []queue
	turn   int         // the queue that is served next
	near   time.Time   // when the server was near, last
	pinged time.Time   // when it was pinged, last
	timer  *time.Timer // serves the queues when a statement is no longer recent; nil until one is needed
	armed  bool
}

// NewSlots returns so many slots, one at least. The function pings the server.
func NewSlots(limit int, ping func(ctx context.Context) error) *Slots {
	return &Slots{limit: max(1, limit), few: min(runtime.GOMAXPROCS(0)+1, most), ping: ping}
}

// queue is what Slots knows of a group. Its methods are called with mu held.
type queue interface {
	empty() bool
	recent() *recent
	send(sent time.Time) // sends the first batch, in a goroutine of its own
}

// take takes a slot, unless there is none or, near the server, too many statements of
// the queue were sent a moment ago. The caller holds mu, and calls release with the time it
// gets.
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

// isNear tells whether the server is near, and has it pinged before that is forgotten.
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

// measure notes how long an answer to so many calls took. The caller holds mu.
func (s *Slots) measure(sent time.Time, calls int) {
	if now := time.Now(); now.Sub(sent) < nearBound+time.Duration(calls)*callBound {
		s.near = now
	}
}

// release gives a slot back, after an answer to so many calls, or none.
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

// serve sends batches of those who wait, as many as may be sent, the queues in turn.
// The caller holds mu.
func (s *Slots) serve() {
	for i := 0; i < len(s.queues); i++ {
		at := (s.turn + i) % len(s.queues)
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
		s.turn, i = (at+1)%len(s.queues), -1
	}
}

// arm has the queues served again when a statement of q is no longer recent. When all
// slots are busy it does nothing: who gives one back serves them. The caller holds mu.
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

// recent is when the statements of a group were sent that are under way and recent. Of more
// than it has room for it knows the last ones. The zero time is nobody's.
type recent [most]time.Time

// count counts them.
func (r *recent) count(now time.Time) (n int) {
	for _, sent := range r {
		if now.Sub(sent) < recentAge {
			n++
		}
	}
	return n
}

// add adds a statement in the place of the oldest one.
func (r *recent) add(sent time.Time) {
	oldest := 0
	for i := range r {
		if r[i].Before(r[oldest]) {
			oldest = i
		}
	}
	r[oldest] = sent
}

// remove makes room when a statement is over.
func (r *recent) remove(sent time.Time) {
	for i := range r {
		if r[i].Equal(sent) {
			r[i] = time.Time{}
			return
		}
	}
}

// oldest is the first of those that are recent.
func (r *recent) oldest(now time.Time) (oldest time.Time) {
	oldest = now
	for _, sent := range r {
		if now.Sub(sent) < recentAge && sent.Before(oldest) {
			oldest = sent
		}
	}
	return oldest
}
