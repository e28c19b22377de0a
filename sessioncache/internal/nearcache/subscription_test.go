package nearcache_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/rhaptos/sessiondb/sessioncache/internal/nearcache"
	"github.com/rhaptos/sessiondb/sid"
)

// closed tells whether a channel is.
func closed(c <-chan struct{}) bool {
	synctest.Wait()
	select {
	case <-c:
		return true
	default:
		return false
	}
}

func TestSubscriptionKeepsPolling(t *testing.T) {
	run(t, func(b *bundle) {
		time.Sleep(time.Second)
		changed, stop := b.Subscribe(b.id)
		_, stopOther := b.Subscribe(b.id)
		time.Sleep(350 * ms)
		b.polls(0, 1000*ms, 1100*ms, 1200*ms, 1300*ms)
		if closed(changed) {
			b.Error("closed without a change")
		}
		stop()
		stop()
		time.Sleep(100 * ms)
		b.polls(0, 1000*ms, 1100*ms, 1200*ms, 1300*ms, 1400*ms)
		stopOther() // the bundle checks that polling ends
	})
}

func TestSubscriptionTellsOfChange(t *testing.T) {
	for _, test := range []struct {
		name    string
		changes nearcache.Changes
		err     error
		other   bool // whether the subscription to another id is closed, too
	}{
		{"the id", nearcache.Changes{Server: server, Changed: []sid.ID{{1}}}, nil, false},
		{"reset", nearcache.Changes{Server: server, Reset: true}, nil, true},
		{"quarantine", nearcache.Changes{Server: server, Quarantine: true}, nil, true},
		{"another server", nearcache.Changes{Server: 2}, nil, true},
		{"failure", nearcache.Changes{}, errBroken, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			run(t, func(b *bundle) {
				first, stopFirst := b.Subscribe(sid.ID{1})
				second, stopSecond := b.Subscribe(sid.ID{1})
				other, stopOther := b.Subscribe(sid.ID{2})
				defer stopFirst()
				defer stopSecond()
				defer stopOther()
				time.Sleep(300 * ms)
				if closed(first) || closed(second) || closed(other) {
					b.Error("closed without a change")
				}
				b.feed.answers(test.changes, test.err)
				time.Sleep(100 * ms)
				if !closed(first) || !closed(second) {
					b.Error("not closed, although the id may have changed")
				}
				if closed(other) != test.other {
					b.Errorf("the one to another id: closed is %v, want %v", !test.other, test.other)
				}
			})
		})
	}
}

// Whoever is told finds the entry removed.
func TestSubscriberFindsNoEntry(t *testing.T) {
	run(t, func(b *bundle) {
		b.keep()
		changed, stop := b.Subscribe(b.id)
		defer stop()
		ids := make([]sid.ID, 50_000) // of the zero id, to make it last
		b.changes(append(ids, b.id)...)
		<-changed
		b.get(false)
	})
}

// Who stops after having been told does not take the subscription of who came later.
func TestStopAfterChange(t *testing.T) {
	run(t, func(b *bundle) {
		first, stopFirst := b.Subscribe(b.id)
		b.changes(b.id)
		<-first
		second, stopSecond := b.Subscribe(b.id)
		defer stopSecond()
		stopFirst()
		time.Sleep(100 * ms)
		if !closed(second) {
			b.Error("not closed, although the id has changed")
		}
	})
}

func TestSubscriptionWhileFeedFails(t *testing.T) {
	run(t, func(b *bundle) {
		b.feed.answers(nearcache.Changes{}, errBroken)
		time.Sleep(time.Second)
		b.get(false)
		synctest.Wait()
		changed, stop := b.Subscribe(b.id)
		defer stop()
		time.Sleep(10 * time.Second)
		if closed(changed) {
			b.Error("closed without a change")
		}
		b.changes(b.id)
		time.Sleep(time.Second)
		if !closed(changed) {
			b.Error("not closed, although the feed works again and tells of the id")
		}
	})
}
