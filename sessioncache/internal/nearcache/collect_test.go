package nearcache_test

import (
	"runtime"
	"testing"
	"time"
	"weak"

	"github.com/rhaptos/sessiondb/sessioncache/internal/nearcache"
	"github.com/rhaptos/sessiondb/sid"
)

// There is nothing to close: a Cache that nobody uses any more is collected, with its
// entries.
func TestUnusedCacheIsCollected(t *testing.T) {
	t.Parallel()
	value := new([64]byte)
	c := nearcache.New[[64]byte](nearcache.Config{Entries: 10, Feed: quiet{}})
	for ok := false; !ok; _, _, ok = c.Get(t.Context(), sid.ID{}) {
		c.Keep(c.Begin(), server, false, sid.ID{}, value, time.Hour)
	}
	cache, kept := weak.Make(c), weak.Make(value)
	for deadline := time.Now().Add(10 * time.Second); cache.Value() != nil || kept.Value() != nil; runtime.GC() {
		if time.Now().After(deadline) {
			t.Fatal("it is still there")
		}
	}
}
