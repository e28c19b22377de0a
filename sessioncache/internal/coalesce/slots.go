package coalesce

import (
	"runtime"
	"sync"
	"time"
)

// How many statements are under way depends on what they wait for. Near the server that
// is the CPU: more statements only make the batches smaller, and each costs client and
// server a change of context. Far away it is the network, and for some a row lock or a
// disk, which another statement does not wait for.
const (
	// recentLimit is how many recent statements of one group may be under way; near the
	// server one for each CPU, and two at least, if that is less. Those that are not
	// recent do not count.
	recentLimit = 4

	// A statement is recent for as long as this after it was sent: the first, or the second
	// if the server is near.
	recentAge     = time.Millisecond
	recentAgeNear = 20 * time.Millisecond

	// The server is near if a statement took less than nearBound within the last
	// nearWindow.
	nearBound  = 400 * time.Microsecond
	nearWindow = 250 * time.Millisecond
)

// Slots bounds how many statements its groups have under way together. Nothing of it
// runs while nobody waits, and it needs no closing.
type Slots struct {
	limit     int
	nearLimit int // of recent statements, near the server

	mu     sync.Mutex // guards the groups, too
	busy   int
	queues []queue
	turn   int         // the queue that is served next
	quick  time.Time   // when a statement was over within nearBound, last
	timer  *time.Timer // serves the queues when a statement is no longer recent; nil until one is needed
	armed  bool
}

// NewSlots returns Slots for so many statements, one at least.
func NewSlots(limit int) *Slots {
	return &Slots{limit: max(1, limit), nearLimit: min(max(2, runtime.GOMAXPROCS(0)), recentLimit)}
}

// queue is what Slots knows of a group. Its methods are called with mu held.
type queue interface {
	empty() bool
	recent() *recent
	send(sent time.Time) // sends the first batch, in a goroutine of its own
}

// take takes a slot, unless there is none or too many statements of the queue were
// sent a moment ago. The caller holds mu, and calls release with the time it gets.
func (s *Slots) take(q queue) (sent time.Time, ok bool) {
	if s.busy == s.limit {
		return sent, false
	}
	sent = time.Now()
	limit, age := s.recency(sent)
	if !q.recent().add(sent, limit, age) {
		return sent, false
	}
	s.busy++
	return sent, true
}

// release gives a slot back. Only a statement that was answered tells how far away the
// server is.
func (s *Slots) release(q queue, sent time.Time, answered bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	q.recent().remove(sent)
	s.busy--
	if now := time.Now(); answered && now.Sub(sent) < nearBound {
		s.quick = now
	}
	s.serve()
}

// recency is how many statements may be recent, and for how long each is.
func (s *Slots) recency(now time.Time) (limit int, age time.Duration) {
	if now.Sub(s.quick) < nearWindow {
		return s.nearLimit, recentAgeNear
	}
	return recentLimit, recentAge
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
	_, age := s.recency(now)
	wait := q.recent().oldest().Add(age).Sub(now)
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

// recent is when those statements under way were sent that are recent; the zero time
// is nobody's.
type recent [recentLimit]time.Time

// add finds a place for a statement, or tells that all are taken.
func (r *recent) add(sent time.Time, limit int, age time.Duration) bool {
	place, taken := -1, 0
	for i := range r {
		if sent.Sub(r[i]) < age {
			taken++
		} else {
			place = i
		}
	}
	if taken >= limit {
		return false
	}
	r[place] = sent
	return true
}

// remove makes room when a statement is over, unless it has long made room by its age.
func (r *recent) remove(sent time.Time) {
	for i := range r {
		if r[i].Equal(sent) {
			r[i] = time.Time{}
			return
		}
	}
}

// oldest is the first of those that are not over.
func (r *recent) oldest() (oldest time.Time) {
	for _, sent := range r {
		if !sent.IsZero() && (oldest.IsZero() || sent.Before(oldest)) {
			oldest = sent
		}
	}
	return oldest
}
