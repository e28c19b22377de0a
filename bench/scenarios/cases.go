package main

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/rhaptos/sessiondb/sessioncache"
	"github.com/rhaptos/sessiondb/sid"
)

// together runs loads at once for a sample.
func (b *bench) together(loads ...load) ([]latencies, error) {
	return runLoads(b.ctx, b.sample, loads...)
}

// separately runs loads one after the other, each for a sample.
func (b *bench) separately(loads ...load) (all []latencies, err error) {
	for _, one := range loads {
		result, err := b.together(one)
		if err != nil {
			return nil, err
		}
		all = append(all, result...)
	}
	return all, nil
}

// delay compares batches with a statement for each call, with a delay to the server.
func (b *bench) delay() error {
	batched := sessioncache.New[json.RawMessage](b.delayed)
	single := sessioncache.New[json.RawMessage](b.delayed, sessioncache.WithoutBatching())
	for _, delay := range []time.Duration{500 * time.Microsecond, 2 * time.Millisecond} {
		b.proxy.SetDelay(delay)
		side := func(cache *sessioncache.Cache[json.RawMessage]) side {
			return func() ([]float64, error) {
				few, err := runLoads(b.ctx, b.sample/2, load{16, b.get(cache)})
				if err != nil {
					return nil, err
				}
				many, err := runLoads(b.ctx, b.sample/2, load{64, b.get(cache)})
				if err != nil {
					return nil, err
				}
				return []float64{few[0].micros(50), many[0].perSecond(b.sample / 2)}, nil
			}
		}
		err := b.compare(fmt.Sprintf("%s of delay, batches against none", delay),
			[]string{"16 callers, median µs", "64 callers, Gets a second"}, side(batched), side(single))
		if err != nil {
			return err
		}
	}
	return nil
}

// mixed has one caller in ten store sessions.
func (b *bench) mixed() error {
	cache := sessioncache.New[json.RawMessage](b.direct)
	side := func(run func(...load) ([]latencies, error)) side {
		return func() ([]float64, error) {
			both, err := run(load{58, b.get(cache)}, load{6, b.set(cache)})
			if err != nil {
				return nil, err
			}
			return []float64{both[0].micros(99), both[1].micros(99)}, nil
		}
	}
	return b.compare("58 callers of Get and 6 of Set, together against by themselves",
		[]string{"Get, p99 µs", "Set, p99 µs"}, side(b.together), side(b.separately))
}

// lock has a Set wait for a row that an uncommitted transaction holds.
func (b *bench) lock() error {
	cache := sessioncache.New[json.RawMessage](b.direct)
	unlocked := func() ([]float64, error) {
		both, err := b.together(load{48, b.get(cache)}, load{16, b.set(cache)})
		if err != nil {
			return nil, err
		}
		return []float64{both[0].micros(99), both[1].micros(99)}, nil
	}
	locked := func() ([]float64, error) {
		id := sid.New().String()
		tx, err := b.direct.Begin(b.ctx)
		if err != nil {
			return nil, err
		}
		if err := cache.WithTx(tx).Set(b.ctx, id, b.user); err != nil {
			return nil, err
		}
		waiting := make(chan error, 1)
		go func() { waiting <- cache.Set(b.ctx, id, b.user) }()
		values, err := unlocked()
		if err != nil {
			return nil, err
		}
		if err := tx.Rollback(b.ctx); err != nil {
			return nil, err
		}
		return values, <-waiting
	}
	return b.compare("48 callers of Get and 16 of Set, while a Set waits for a row lock",
		[]string{"Get, p99 µs", "Set, p99 µs"}, locked, unlocked)
}

// pool has the application hold all connections but one, and use that one, too.
func (b *bench) pool() error {
	cache := sessioncache.New[json.RawMessage](b.direct)
	application := func(ctx context.Context, _ int) error {
		_, err := b.direct.Exec(ctx, "SELECT 1")
		return err
	}
	side := func(run func(...load) ([]latencies, error)) side {
		return func() ([]float64, error) {
			for range connections - 1 {
				conn, err := b.direct.Acquire(b.ctx)
				if err != nil {
					return nil, err
				}
				defer conn.Release()
			}
			both, err := run(load{32, b.get(cache)}, load{4, application})
			if err != nil {
				return nil, err
			}
			return []float64{both[0].micros(99), both[1].micros(99), both[0].perSecond(b.sample)}, nil
		}
	}
	return b.compare("one connection is left: 32 callers of Get and 4 of the application, together against by themselves",
		[]string{"Get, p99 µs", "application, p99 µs", "Gets a second"}, side(b.together), side(b.separately))
}

// change changes the delay, and compares the second second with a steady delay.
func (b *bench) change() error {
	cache := sessioncache.New[json.RawMessage](b.delayed)
	gets := load{64, b.get(cache)}
	for _, delays := range [][2]time.Duration{{0, 2 * time.Millisecond}, {2 * time.Millisecond, 0}} {
		side := func(before time.Duration) side {
			return func() ([]float64, error) {
				for _, delay := range []time.Duration{before, delays[1]} { // the second time it adapts
					b.proxy.SetDelay(delay)
					if _, err := runLoads(b.ctx, time.Second, gets); err != nil {
						return nil, err
					}
				}
				result, err := b.together(gets)
				if err != nil {
					return nil, err
				}
				return []float64{result[0].perSecond(b.sample)}, nil
			}
		}
		err := b.compare(fmt.Sprintf("delay changed from %s to %s a second ago, against unchanged", delays[0], delays[1]),
			[]string{"64 callers, Gets a second"}, side(delays[0]), side(delays[1]))
		if err != nil {
			return err
		}
	}
	return nil
}
