package sessioncache

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"time"
)

// firstRetry is how long the janitor waits after a first failure. Each further failure
// doubles it.
const firstRetry = time.Second

// RunJanitor purges at intervals until ctx ends. It blocks: run it in a goroutine.
//
//	go cache.RunJanitor(ctx, 5*time.Minute)
//
// The first purge starts after a random part of the interval. Each later one starts
// after 0.9 to 1.1 intervals. This spreads the purges of instances that start together.
// (Purges at the same time do no harm.) A purge takes at most half of the interval. A
// failed purge is logged at level Warn and repeated after one second, then two, then
// four, up to the interval. Several janitors of one Cache purge one at a time.
//
// RunJanitor panics if the interval is not positive.
func (s *store) RunJanitor(ctx context.Context, interval time.Duration) {
	if interval <= 0 {
		panic(fmt.Sprintf("sessioncache: RunJanitor: %s is not a valid time", interval))
	}
	retry := firstRetry
	for wait := rand.N(interval); ; {
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return
		}
		if err := s.purgeOnce(ctx, interval); err != nil && ctx.Err() == nil {
			wait = min(retry, interval)
			retry = min(2*retry, interval)
			s.config.log().LogAttrs(ctx, slog.LevelWarn, "janitor failed", slog.Any("error", err), slog.Duration("again_in", wait))
		} else {
			wait = interval - interval/10 + rand.N(interval/5+1)
			retry = firstRetry
		}
	}
}

// purgeOnce purges once, unless another janitor of this Cache does. A panic, for
// example in a tracer, becomes an error, because a purge must not end the service.
func (s *store) purgeOnce(ctx context.Context, interval time.Duration) (err error) {
	if !s.shared.purging.TryLock() {
		return nil
	}
	defer s.shared.purging.Unlock()
	defer func() {
		if reason := recover(); reason != nil {
			err = fmt.Errorf("sessioncache: janitor: panic: %v", reason)
		}
	}()
	_, err = s.Purge(ctx, WithBudget(max(1, interval/2)))
	return err
}
