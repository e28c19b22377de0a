package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rhaptos/sessiondb/sessioncache"
	"github.com/rhaptos/sessiondb/sid"
)

type cache = sessioncache.Cache[json.RawMessage]

var user = json.RawMessage(`{"user_id":"cnxuser:1","fullname":"` + strings.Repeat("x", 512) + `"}`)

// reportEvery is how many latencies a caller collects before it takes the lock: so few
// that each of 256 callers reports within a sample on a slow machine, too.
const reportEvery = 32

// load is callers that Get and Set, without a pause, until they are stopped.
type load struct {
	cancel  context.CancelFunc
	callers sync.WaitGroup
	failed  atomic.Int64

	mu   sync.Mutex
	gets []time.Duration // since the last measurement
}

func startLoad(ctx context.Context, cache *cache, ids []string, getters, setters int) *load {
	l := &load{}
	ctx, l.cancel = context.WithCancel(ctx)
	for range getters {
		l.callers.Go(func() {
			took := make([]time.Duration, 0, reportEvery)
			for ctx.Err() == nil {
				start := time.Now()
				_, ok, err := cache.Get(ctx, ids[rand.IntN(len(ids))])
				if ctx.Err() == nil && (err != nil || !ok) {
					l.failed.Add(1)
				}
				if took = append(took, time.Since(start)); len(took) == cap(took) {
					l.mu.Lock()
					l.gets = append(l.gets, took...)
					l.mu.Unlock()
					took = took[:0]
				}
			}
		})
	}
	for range setters {
		l.callers.Go(func() {
			for ctx.Err() == nil {
				if err := cache.Set(ctx, sid.New().String(), user); err != nil && ctx.Err() == nil {
					l.failed.Add(1)
				}
			}
		})
	}
	return l
}

func (l *load) stop() {
	l.cancel()
	l.callers.Wait()
}

// measured is what the callers saw of their Gets in some while.
type measured struct {
	n        int
	p50, p99 time.Duration
}

// measure forgets what was before, waits for do, and returns what the callers saw
// meanwhile.
func (l *load) measure(do func() error) (measured, error) {
	l.mu.Lock()
	l.gets = nil
	l.mu.Unlock()
	err := do()
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.gets) == 0 {
		return measured{}, errors.Join(fmt.Errorf("no caller got %d answers", reportEvery), err)
	}
	slices.Sort(l.gets)
	return measured{len(l.gets), l.gets[len(l.gets)/2], l.gets[len(l.gets)*99/100]}, err
}

func wait(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
