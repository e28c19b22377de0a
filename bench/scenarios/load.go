package main

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"sync"
	"time"
)

// call is one call of a caller. i is a random number.
type call func(ctx context.Context, i int) error

// load is callers who make one kind of call.
type load struct {
	callers int
	do      call
}

// latencies are those of one load, in ascending order.
type latencies []time.Duration

func (l latencies) micros(percentile int) float64 {
	if len(l) == 0 {
		return 0
	}
	return micros(l[(len(l)-1)*percentile/100])
}

// mean is in microseconds.
func (l latencies) mean() float64 {
	var sum time.Duration
	for _, one := range l {
		sum += one
	}
	return micros(sum) / float64(max(1, len(l)))
}

// perSecond is the rate of the calls that took so long together.
func (l latencies) perSecond(length time.Duration) float64 {
	return float64(len(l)) / length.Seconds()
}

func micros(d time.Duration) float64 {
	return float64(d) / float64(time.Microsecond)
}

// runLoads runs several loads at once.
func runLoads(ctx context.Context, length time.Duration, loads ...load) ([]latencies, error) {
	results := make([]latencies, len(loads))
	var mu sync.Mutex
	var errs []error
	var all sync.WaitGroup
	end := time.Now().Add(length)
	for kind, l := range loads {
		for range l.callers {
			all.Go(func() {
				var mine latencies
				var err error
				for start := time.Now(); start.Before(end) && err == nil; {
					err = l.do(ctx, int(rand.Uint64()>>1))
					now := time.Now()
					mine = append(mine, now.Sub(start))
					start = now
				}
				mu.Lock()
				defer mu.Unlock()
				results[kind], errs = append(results[kind], mine...), append(errs, err)
			})
		}
	}
	all.Wait()
	for _, result := range results {
		slices.Sort(result)
	}
	return results, errors.Join(errs...)
}
