package nearcache

import (
	"slices"

	"github.com/rhaptos/sessiondb/sid"
)

// maxHistory is the largest number of ids in a history.
const maxHistory = 1024

// history holds the ids that the last polls named. With it, a lookup that was under way
// during a poll is kept if the poll named other ids. Without it, no lookup that takes
// longer than the interval of polls would be kept, and few of the first lookups after
// an idle time, because these begin together with a poll.
type history struct {
	start uint64 // polls up to this one are not in the history; 0 if no poll has been applied
	polls []told // in ascending order, without those that named no id
	ids   int    // in polls
}

type told struct {
	poll uint64
	ids  []sid.ID
}

// add adds the ids of an applied poll.
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

// reset records a poll after which anything may have changed.
func (h *history) reset(poll uint64) {
	*h = history{start: poll}
}

// unchanged tells whether no poll after the given one named id.
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
