package coalesce

import (
	"slices"
	"sync"
	"time"
)

// The fewer statements a group has under way, the larger its batches are, and the less a
// call costs. But statements that wait for the network or for a lock must not hold up the
// others. Therefore a group may have a few statements under way, and one more whenever the
// youngest was sent an interval ago.
const (
	// few statements keep two CPUs busy. A pool of four connections has as many slots.
	few = 3

	// A batch on a local network takes less than an interval. On a busy machine it takes
	// longer, but twice the time allows only twice as many statements beyond the few.
	interval = 2 * time.Millisecond
)

// Slots bounds how many statements its groups have under way together. It runs nothing
// while no call waits, and needs no closing.
type Slots struct {
	limit int

	mu     sync.Mutex // guards the groups, too
	busy   int
	queues []queue
	next   int         // the index of the queue that is served next
	timer  *time.Timer // serves the queues when an interval is over; nil until one is needed
	armed  bool
}

// NewSlots returns limit slots, at least one.
func NewSlots(limit int) *Slots {
	return &Slots{limit: max(1, limit)}
}

// queue is a group without its types. Its methods are called with mu held.
type queue interface {
	empty() bool
	underWay() *[]time.Time // when the statements under way were sent, oldest first
	send(sent time.Time)    // sends the first batch, in a new goroutine
}

// take takes a slot. It fails if none is free, or if the queue has a few statements under
// way and the youngest was sent within the interval. Then the queue is served when the
// next statement may be sent. The caller holds mu, and passes the returned time to release.
func (s *Slots) take(q queue) (sent time.Time, ok bool) {
	if s.busy == s.limit {
		return sent, false // release serves the queue
	}
	now, statements := time.Now(), q.underWay()
	if n := len(*statements); n >= few {
		if wait := interval - now.Sub((*statements)[n-1]); wait > 0 {
			s.wakeAfter(wait)
			return sent, false
		}
	}
	*statements = append(*statements, now)
	s.busy++
	return now, true
}

// release gives a slot back.
func (s *Slots) release(q queue, sent time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	statements := q.underWay()
	i := slices.Index(*statements, sent)
	*statements = slices.Delete(*statements, i, i+1)
	s.busy--
	s.serve()
}

// serve sends a waiting batch of each queue that may send one. It begins with another
// queue than the one that was served last. The caller holds mu.
func (s *Slots) serve() {
	first := s.next
	for i := range s.queues {
		at := (first + i) % len(s.queues)
		q := s.queues[at]
		if q.empty() {
			continue
		}
		if sent, ok := s.take(q); ok {
			q.send(sent)
			s.next = at + 1
		}
	}
}

// wakeAfter makes the queues be served after a time of at most an interval. One timer is
// enough: a queue that needs it sooner waits for less than an interval, too. The caller
// holds mu.
func (s *Slots) wakeAfter(wait time.Duration) {
	if s.armed {
		return
	}
	s.armed = true
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
