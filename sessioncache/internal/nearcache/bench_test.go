package nearcache_test

import (
	"testing"

	"github.com/rhaptos/sessiondb/sessioncache/internal/nearcache"
	"github.com/rhaptos/sessiondb/sid"
)

// BenchmarkHit measures a hit with the real clocks, counted. Each id is looked up again when
// its lease has ended.
func BenchmarkHit(b *testing.B) {
	c := nearcache.New(3<<9, nearcache.Now) // two thirds are in use, so that otter records the reads
	ids := make([]sid.ID, 1<<10)
	for i := range ids {
		ids[i] = sid.New()
	}
	get := func(id sid.ID) {
		_, _, ok := c.Get(id)
		c.Count(ok)
		if !ok {
			c.Keep(c.Begin(), id, text("value"), 5, nearcache.Lease)
		}
	}
	b.Run("serial", func(b *testing.B) {
		b.ReportAllocs()
		for i := range b.N {
			get(ids[i%len(ids)])
		}
	})
	b.Run("parallel", func(b *testing.B) {
		b.ReportAllocs()
		b.RunParallel(func(pb *testing.PB) {
			for i := 0; pb.Next(); i++ {
				get(ids[i%len(ids)])
			}
		})
	})
}
