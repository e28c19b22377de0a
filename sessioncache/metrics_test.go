package sessioncache_test

import (
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/rhaptos/sessiondb/sessioncache"
	"github.com/rhaptos/sessiondb/sid"
)

func TestMetrics(t *testing.T) {
	cache, pool := setup[raw](t)
	ctx := t.Context()
	id := set(t, cache, raw(`{}`))
	wantUser(t, cache, id, `{}`)
	wantUser(t, cache, id, `{}`)
	wantNone(t, cache, newID())
	_, _, _ = cache.Get(ctx, "Dr. Evil")
	_ = cache.Set(ctx, newID(), raw(`null`))
	_, _ = cache.Update(ctx, id, increase)
	_, _ = cache.Update(ctx, newID(), increase) // nothing is updated
	token := issue(t, cache, raw(`{}`))
	renewed := renew(t, cache, token)
	_, _, _ = cache.Authenticate(ctx, token) // superseded
	_, _, _ = cache.Renew(ctx, token)        // superseded
	_, _, _ = cache.Renew(ctx, sid.NewToken())
	wantOpens(t, cache, renewed, `{}`)
	wantOpensNone(t, cache, token.Renewed())
	_, _ = cache.UpdateSession(ctx, renewed, increase)
	_, _ = cache.UpdateSession(ctx, sid.NewToken(), increase)
	_ = cache.Revoke(ctx, renewed)
	_, _ = cache.DeleteSession(ctx, renewed.Handle())
	_, _, _ = cache.Authenticate(ctx, sid.Token{})
	_, _ = cache.Issue(ctx, raw(`null`))
	odd := set(t, cache, raw(`{}`))
	execute(t, pool, `UPDATE session_cache SET userdict = 'null' WHERE sessionid = $1`, odd)
	_, _, _ = cache.Get(ctx, odd)
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
	if n := total(got.GetLatency); n != 5 || got.GetLatency.Sum <= 0 {
		t.Errorf("the latency of %d Gets is counted, %s in all; want 5", n, got.GetLatency.Sum)
	}
	if n := total(got.SetLatency); n != 5 || got.SetLatency.Sum <= 0 {
		t.Errorf("the latency of %d Sets is counted, %s in all; want 5", n, got.SetLatency.Sum)
	}
	got.GetLatency, got.SetLatency = sessioncache.Histogram{}, sessioncache.Histogram{}
	want := sessioncache.Metrics{
		Gets: 5, Hits: 3, Misses: 2, Sets: 5, Deletes: 3, Updates: 2, Renewals: 1, Conflicts: 1, Superseded: 2,
		Malformed: 2, InvalidUser: 2, Unreadable: 1, Unavailable: 1,
	}
	if got != want {
		t.Errorf("Metrics = %+v; want %+v", got, want)
	}
}

func increase(*raw) error { return nil }

func TestMetricsOfBatches(t *testing.T) {
	cache, _ := setup[raw](t)
	id := set(t, cache, raw(`{}`))
	var all sync.WaitGroup
	for range 64 {
		all.Go(func() {
			for range 20 {
				wantUser(t, cache, id, `{}`)
			}
			for range 2 {
				set(t, cache, raw(`{}`))
			}
		})
	}
	all.Wait()
	got := cache.Metrics()
	if got.GetBatches == 0 || got.BatchedGets < 2*got.GetBatches || got.BatchedGets > got.Gets || got.Hits != 64*20 {
		t.Errorf("Metrics = %+v; want batches of two Gets or more", got)
	}
	if got.SetBatches == 0 || got.BatchedSets < 2*got.SetBatches || got.BatchedSets > got.Sets || got.Sets != 1+64*2 {
		t.Errorf("Metrics = %+v; want batches of two Sets or more", got)
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
