package nearcache_test

import (
	"context"
	"testing"
	"time"

	"github.com/rhaptos/sessiondb/sessioncache/internal/nearcache"
	"github.com/rhaptos/sessiondb/sid"
)

// BenchmarkHit measures Get with the real clocks while polls are applied. Two thirds of
// the memory are in use, so that otter records the reads.
func BenchmarkHit(b *testing.B) {
	value := "value"
	c := nearcache.New[string](nearcache.Config{Entries: 3 << 9, Feed: quiet{}})
	ids := make([]sid.ID, 1<<10)
	for i := range ids {
		ids[i] = sid.New()
		for ok := false; !ok; _, _, ok = c.Get(b.Context(), ids[i]) { // the first ones come before the first poll
			c.Keep(c.Begin(), server, false, ids[i], &value, time.Hour)
		}
	}
	check := func(b *testing.B, misses uint64) {
		if n := c.Stats().Misses - misses; n > uint64(b.N)/1000+uint64(len(ids)) {
			b.Errorf("%d misses in %d calls", n, b.N)
		}
	}
	b.Run("serial", func(b *testing.B) {
		defer check(b, c.Stats().Misses)
		b.ReportAllocs()
		for i := range b.N {
			c.Get(b.Context(), ids[i%len(ids)])
		}
	})
	for _, bm := range []struct {
		name string
		ids  int
	}{{"parallel", len(ids)}, {"parallel, one id", 1}} {
		b.Run(bm.name, func(b *testing.B) {
			defer check(b, c.Stats().Misses)
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				ctx := context.Background()
				for i := 0; pb.Next(); i++ {
					c.Get(ctx, ids[i%bm.ids])
				}
			})
		})
	}
}

// BenchmarkReset measures what emptying a large memory costs, most of which is to make
// the new one.
func BenchmarkReset(b *testing.B) {
	for b.Loop() {
		nearcache.New[string](nearcache.Config{Entries: 1 << 20, Feed: quiet{}})
	}
}
