package nearcache_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/rhaptos/sessiondb/sessioncache/internal/nearcache"
	"github.com/rhaptos/sessiondb/sid"
)

func TestApply(t *testing.T) {
	for _, test := range []struct {
		name             string
		changes          nearcache.Changes
		stays            bool
		resets, restarts uint64
	}{
		{"no changes", nearcache.Changes{Server: server}, true, 1, 0},
		{"another id", nearcache.Changes{Server: server, Changed: []sid.ID{sid.New()}}, true, 1, 0},
		{"the id, among others", nearcache.Changes{Server: server, Changed: []sid.ID{sid.New(), {}, sid.New()}}, false, 1, 0},
		{"reset", nearcache.Changes{Server: server, Reset: true}, false, 2, 0},
		{"quarantine", nearcache.Changes{Server: server, Quarantine: true}, false, 1, 1},
		{"another server", nearcache.Changes{Server: 2}, false, 2, 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			run(t, func(b *bundle) {
				b.id = sid.ID{}
				b.keep()
				b.feed.answers(test.changes, nil)
				time.Sleep(time.Second)
				b.get(test.stays)
				b.feed.answers(nearcache.Changes{Server: test.changes.Server}, nil)
				synctest.Wait()
				if stats := b.Stats(); stats.Resets != test.resets || stats.Restarts != test.restarts {
					b.Errorf("%d resets, %d restarts; want %d, %d", stats.Resets, stats.Restarts, test.resets, test.restarts)
				}
				if polls, applied := len(b.feed.starts()), b.feed.appliedPolls(); polls != 2 || applied != 2 {
					b.Errorf("%d polls, %d applied; want 2", polls, applied)
				}
			})
		})
	}
}
