package nearcache

import (
	"slices"

	"github.com/rhaptos/sessiondb/sessioncache/sid"
)

// maxHistory is how many ids a history holds.
const maxHistory = 1024

// history is which ids the last polls told of, so that a lookup that was under way
// meanwhile is kept if it was of another id. Without it no lookup that takes as long as
// the interval would be kept, just when the database is slow, and few of those that come
// after a silence, since they begin together with a poll.
type history struct {
	start uint64 // of polls up to this one nothing is known; 0: no poll has been applied
	polls []told // in ascending order, without those that told of nothing
	ids   int    // in polls
}

type told struct {
	poll uint64
	ids  []sid.ID
}

// add adds what an applied poll has told.
func (h *history) add(poll uint64, ids []sid.ID) {
	if len(ids) == 0 {
		return
	}
	h.polls = append(h.polls, told{poll, ids})
	h.ids += len(ids)
	for h.ids > maxHistory {
		h.start = h.polls[0].poll
		h.ids -= len(h.polls[0].ids)
		h.polls = slices.Delete(h.polls, 0, 1)
	}
}

// reset notes that a poll told that anything may have changed.
func (h *history) reset(poll uint64) {
	*h = history{start: poll}
}

// unchanged tells whether no poll after the given one told of id.
func (h *history) unchanged(since uint64, id sid.ID) bool {
	if since < h.start {
		return false
	}
	for _, t := range h.polls {
		if t.poll > since && slices.Contains(t.ids, id) {
			return false
		}
	}
	return true
}
