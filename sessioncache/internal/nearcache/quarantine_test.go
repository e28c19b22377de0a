package nearcache

import "testing"

// A ticket may be taken before the quarantine begins and see the poll that began it.
func TestQuarantineOfAnEarlierTicket(t *testing.T) {
	t.Parallel()
	var q quarantine
	q.begin(Instant{Mono: 10, Wall: 10})
	if q.over(Instant{Mono: 5, Wall: 5}) {
		t.Error("over for a lookup sent before it began")
	}
	if q.over(Instant{Mono: 5 + int64(Quarantine), Wall: 5 + int64(Quarantine)}) {
		t.Error("over before its end")
	}
	if !q.over(Instant{Mono: 10 + int64(Quarantine), Wall: 10 + int64(Quarantine)}) {
		t.Error("not over at its end")
	}
}
