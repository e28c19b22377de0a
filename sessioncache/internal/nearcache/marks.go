package nearcache

import "github.com/rhaptos/sessiondb/sid"

// marks are the ids that this process has changed within the last lease, and when, by the
// monotonic clock. An older mark is not needed: a lookup that was sent before it does not
// count any more. The wall clock is not asked, because a step of it would end marks too
// early.
//
// The ids are in two maps. When the older one is a lease behind, it is dropped as a whole.
type marks struct {
	since      int64 // when young was begun
	young, old map[sid.ID]int64
}

// add marks an id.
func (m *marks) add(id sid.ID, now int64) {
	if m.young == nil || now-m.since >= int64(Lease) {
		m.old, m.young, m.since = m.young, make(map[sid.ID]int64), now
	}
	m.young[id] = now
}

// has reports whether an id was marked at a time or after it.
func (m *marks) has(id sid.ID, at int64) bool {
	for _, marked := range []map[sid.ID]int64{m.young, m.old} {
		if mark, ok := marked[id]; ok && mark >= at {
			return true
		}
	}
	return false
}
