package nearcache_test

import (
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rhaptos/sessiondb/sessioncache/internal/nearcache"
	"github.com/rhaptos/sessiondb/sid"
)

// TestRegister runs three processes on one value, in time that the test makes: lookups and
// changes take up to 300 ms each, their answers come in any order, the clocks of the processes
// run at rates from 0.92 to 1.08, and one of the two clocks of each process fails. No Get that
// begins after a change has returned shows what was before, and a process sees its own changes
// at once.
func TestRegister(t *testing.T) {
	t.Parallel()
	rounds := 200
	if testing.Short() {
		rounds = 20
	}
	for seed := range rounds {
		synctest.Test(t, func(t *testing.T) { register(t, uint64(seed)) })
	}
}

// process is one of several with a near cache of the same value.
type process struct {
	cache *nearcache.Cache
	rate  float64      // of its clocks
	own   atomic.Int64 // the last own change that was committed
}

func register(t *testing.T, seed uint64) {
	t.Helper()
	var stored, returned atomic.Int64 // the value in the database, and the last that a change has returned
	random := newRandom(seed)
	begun, id := time.Now(), sid.New()
	processes := make([]*process, 3)
	for i, rate := range []float64{0.92, 1, 1.08} {
		fails := clockFaults[random.IntN(len(clockFaults))]
		processes[i] = &process{rate: rate, cache: nearcache.New(10, func() nearcache.Instant {
			return fails(int64(float64(time.Since(begun)) * rate))
		})}
	}
	pause := func(most time.Duration) { time.Sleep(random.duration(most)) }
	var all sync.WaitGroup
	var hits atomic.Int64
	for _, p := range processes {
		for range 3 {
			all.Go(func() {
				for range 100 {
					before, own := returned.Load(), p.own.Load()
					value, _, hit := p.cache.Get(id)
					if hit {
						hits.Add(1)
						if n := value.(*kept[int64]).value; n < before || n < own {
							t.Errorf("seed %d: memory has %d; %d has returned, %d was an own change", seed, n, before, own)
						}
					} else {
						sent := p.cache.Begin()
						pause(150 * time.Millisecond)
						found := stored.Load()
						pause(150 * time.Millisecond)
						p.cache.Keep(sent, id, &kept[int64]{value: found}, 8, time.Hour)
					}
					pause(20 * time.Millisecond)
				}
			})
		}
		all.Go(func() {
			for range 20 {
				pause(300 * time.Millisecond)
				n := stored.Add(1)
				pause(50 * time.Millisecond) // until the commit is acknowledged
				p.cache.Mark(id)
				p.own.Store(n)
				time.Sleep(time.Duration(float64(250*time.Millisecond) / p.rate))
				for last := returned.Load(); last < n && !returned.CompareAndSwap(last, n); last = returned.Load() {
				}
			}
		})
	}
	all.Wait()
	if hits.Load() == 0 {
		t.Errorf("seed %d: memory was not used", seed)
	}
}

// clockFaults read both clocks at a time since the beginning, in nanoseconds. One of them is
// wrong.
var clockFaults = []func(at int64) nearcache.Instant{
	func(at int64) nearcache.Instant { // the wall clock is set again and again, forward or back
		const period = int64(300 * time.Millisecond)
		step := rand.New(rand.NewPCG(uint64(at/period), 0)).Int64N(int64(time.Second)) - int64(time.Second)/2
		return nearcache.Instant{Mono: at, Wall: at + step}
	},
	func(at int64) nearcache.Instant { // the monotonic clock stands still, most of the time
		const period, runs = int64(600 * time.Millisecond), int64(150 * time.Millisecond)
		return nearcache.Instant{Mono: at/period*runs + min(at%period, runs), Wall: at}
	},
}

// random is a source of durations for several goroutines.
type random struct {
	mu sync.Mutex
	*rand.Rand
}

func newRandom(seed uint64) *random {
	return &random{Rand: rand.New(rand.NewPCG(seed, 0))}
}

func (r *random) duration(most time.Duration) time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	return time.Duration(r.Int64N(int64(most)))
}
