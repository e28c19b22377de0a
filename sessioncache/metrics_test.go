package sessioncache_test

import (
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/rhaptos/sessiondb/sessioncache"
)

func TestMetrics(t *testing.T) {
	cache, pool := setup[raw](t)
	ctx := t.Context()
	id := set(t, cache, raw(`{}`))
	other := set(t, cache, raw(`{}`))
	wantUser(t, cache, id, `{}`)
	wantUser(t, cache, id, `{}`)
	wantNone(t, cache, newID())
	_, _, _ = cache.Get(ctx, "Dr. Evil")
	_ = cache.Set(ctx, newID(), raw(`null`))
	_, _ = cache.Update(ctx, id, increase)
	_, _ = cache.Update(ctx, newID(), increase) // nothing is updated
	moved := newID()
	_, _ = cache.Rotate(ctx, id, moved)
	_, _ = cache.Rotate(ctx, moved, other) // both end
	third := set(t, cache, raw(`{}`))
	_ = cache.Set(ctx, third, raw(`{}`))
	_ = cache.Delete(ctx, third)
	err := pgx.BeginFunc(ctx, pool, func(tx pgx.Tx) error { return cache.WithTx(tx).Set(ctx, newID(), raw(`{}`)) })
	if err != nil {
		t.Fatal(err)
	}
	pool.Close()
	_, _, _ = cache.Get(ctx, id)

	got := cache.Metrics()
	if n := total(got.GetLatency); n != 3 || got.GetLatency.Sum <= 0 {
		t.Errorf("the latency of %d Gets is counted, %s in all; want 3", n, got.GetLatency.Sum)
	}
	if n := total(got.SetLatency); n != 4 || got.SetLatency.Sum <= 0 {
		t.Errorf("the latency of %d Sets is counted, %s in all; want 4", n, got.SetLatency.Sum)
	}
	got.GetLatency, got.SetLatency = sessioncache.Histogram{}, sessioncache.Histogram{}
	want := sessioncache.Metrics{
		Gets: 3, Hits: 2, Misses: 1, Sets: 4, Deletes: 1, Updates: 1, Rotations: 1, Conflicts: 2,
		Malformed: 1, InvalidUser: 1, Unavailable: 1,
	}
	if got != want {
		t.Errorf("Metrics = %+v; want %+v", got, want)
	}
}

func increase(*raw) error { return nil }

func total(h sessioncache.Histogram) (n uint64) {
	for _, count := range h.Counts {
		n += count
	}
	return n
}

func TestMetricsOfBatches(t *testing.T) {
	cache, _ := setup[raw](t)
	id := set(t, cache, raw(`{}`))
	var all sync.WaitGroup
	for range 64 {
		all.Go(func() {
			for range 20 {
				wantUser(t, cache, id, `{}`)
			}
		})
	}
	all.Wait()
	got := cache.Metrics()
	if got.Batches == 0 || got.Riders < got.Batches || got.Riders > got.Gets || got.Hits != 64*20 {
		t.Errorf("Metrics = %+v; want batches of riders", got)
	}
}

func TestLatencyBounds(t *testing.T) {
	t.Parallel()
	bounds := sessioncache.LatencyBounds()
	if len(bounds) != len(sessioncache.Histogram{}.Counts)-1 || bounds[0] != 16384*time.Nanosecond {
		t.Errorf("%d bounds: %v", len(bounds), bounds)
	}
	for i := 1; i < len(bounds); i++ {
		if bounds[i] != 2*bounds[i-1] {
			t.Errorf("bound %d is %s", i, bounds[i])
		}
	}
}
