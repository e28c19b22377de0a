package main

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/rhaptos/sessiondb/sessioncache"
	"github.com/rhaptos/sessiondb/sessioncache/sid"
)

// distance compares batches with a statement for each call, far from the server.
func (b *bench) distance() error {
	batched := sessioncache.New[json.RawMessage](b.far)
	single := sessioncache.New[json.RawMessage](b.far, sessioncache.WithoutBatching())
	for _, delay := range []time.Duration{500 * time.Microsecond, 2 * time.Millisecond} {
		b.proxy.delay.Store(int64(delay))
		side := func(cache *sessioncache.Cache[json.RawMessage]) func() ([]float64, error) {
			return func() ([]float64, error) {
				few, err := drive(b.ctx, b.turn/2, load{16, b.get(cache)})
				if err != nil {
					return nil, err
				}
				many, err := drive(b.ctx, b.turn/2, load{64, b.get(cache)})
				if err != nil {
					return nil, err
				}
				return []float64{few[0].micros(50), float64(len(many[0])) / (b.turn / 2).Seconds()}, nil
			}
		}
		err := b.compare(fmt.Sprintf("%s away, batches against none", delay),
			[]string{"16 callers, median µs", "64 callers, Gets a second"}, side(batched), side(single))
		if err != nil {
			return err
		}
	}
	return nil
}

// mix has one caller in ten store sessions.
func (b *bench) mix() error {
	cache := sessioncache.New[json.RawMessage](b.near)
	gets, sets := load{58, b.get(cache)}, load{6, b.set(cache)}
	return b.compare("58 callers of Get and 6 of Set, together against by themselves", []string{"Get, p99 µs", "Set, p99 µs"},
		func() ([]float64, error) {
			both, err := drive(b.ctx, b.turn, gets, sets)
			if err != nil {
				return nil, err
			}
			return []float64{both[0].micros(99), both[1].micros(99)}, nil
		},
		func() ([]float64, error) {
			one, err := drive(b.ctx, b.turn, gets)
			if err != nil {
				return nil, err
			}
			other, err := drive(b.ctx, b.turn, sets)
			if err != nil {
				return nil, err
			}
			return []float64{one[0].micros(99), other[0].micros(99)}, nil
		})
}

// lock has a Set wait for a row that somebody else has not committed.
func (b *bench) lock() error {
	cache := sessioncache.New[json.RawMessage](b.near)
	gets, sets := load{48, b.get(cache)}, load{16, b.set(cache)}
	measure := func() ([]float64, error) {
		both, err := drive(b.ctx, b.turn, gets, sets)
		if err != nil {
			return nil, err
		}
		return []float64{both[0].micros(99), both[1].micros(99)}, nil
	}
	return b.compare("48 callers of Get and 16 of Set, while a Set waits for a row lock", []string{"Get, p99 µs", "Set, p99 µs"},
		func() ([]float64, error) {
			id := sid.New().String()
			tx, err := b.near.Begin(b.ctx)
			if err != nil {
				return nil, err
			}
			if err := cache.WithTx(tx).Set(b.ctx, id, b.user); err != nil {
				return nil, err
			}
			stuck := make(chan error, 1)
			go func() { stuck <- cache.Set(b.ctx, id, b.user) }()
			values, err := measure()
			if err != nil {
				return nil, err
			}
			if err := tx.Rollback(b.ctx); err != nil {
				return nil, err
			}
			return values, <-stuck
		}, measure)
}

// taken has the application hold all connections but one, and use that one, too.
func (b *bench) taken() error {
	cache := sessioncache.New[json.RawMessage](b.near)
	application := load{4, func(ctx context.Context, _ int) error {
		_, err := b.near.Exec(ctx, "SELECT 1")
		return err
	}}
	gets := load{32, b.get(cache)}
	holding := func(do func() ([]float64, error)) func() ([]float64, error) {
		return func() ([]float64, error) {
			for range connections - 1 {
				conn, err := b.near.Acquire(b.ctx)
				if err != nil {
					return nil, err
				}
				defer conn.Release()
			}
			return do()
		}
	}
	return b.compare("one connection is left: 32 callers of Get and 4 of the application, together against by themselves",
		[]string{"Get, p99 µs", "application, p99 µs", "Gets a second"},
		holding(func() ([]float64, error) {
			both, err := drive(b.ctx, b.turn, gets, application)
			if err != nil {
				return nil, err
			}
			return []float64{both[0].micros(99), both[1].micros(99), float64(len(both[0])) / b.turn.Seconds()}, nil
		}),
		holding(func() ([]float64, error) {
			one, err := drive(b.ctx, b.turn, gets)
			if err != nil {
				return nil, err
			}
			other, err := drive(b.ctx, b.turn, application)
			if err != nil {
				return nil, err
			}
			return []float64{one[0].micros(99), other[0].micros(99), float64(len(one[0])) / b.turn.Seconds()}, nil
		}))
}

// change moves the server away and back, and compares the second second with a steady
// one.
func (b *bench) change() error {
	cache := sessioncache.New[json.RawMessage](b.far)
	gets := load{64, b.get(cache)}
	rate := func() (float64, error) {
		result, err := drive(b.ctx, b.turn, gets)
		if err != nil {
			return 0, err
		}
		return float64(len(result[0])) / b.turn.Seconds(), nil
	}
	for _, delays := range [][2]time.Duration{{0, 2 * time.Millisecond}, {2 * time.Millisecond, 0}} {
		settle := func(delay time.Duration, length time.Duration) error {
			b.proxy.delay.Store(int64(delay))
			_, err := drive(b.ctx, length, gets)
			return err
		}
		side := func(before time.Duration) func() ([]float64, error) {
			return func() ([]float64, error) {
				if err := settle(before, time.Second); err != nil {
					return nil, err
				}
				if err := settle(delays[1], time.Second); err != nil { // in which it adapts
					return nil, err
				}
				second, err := rate()
				return []float64{second}, err
			}
		}
		err := b.compare(fmt.Sprintf("from %s away to %s, after a second, against staying there", delays[0], delays[1]),
			[]string{"64 callers, Gets a second"}, side(delays[0]), side(delays[1]))
		if err != nil {
			return err
		}
	}
	return nil
}
