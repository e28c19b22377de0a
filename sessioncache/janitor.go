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

// RunJanitor purges at intervals until ctx ends. It blocks, so run it in a goroutine:
//
//	go cache.RunJanitor(ctx, 5*time.Minute)
//
// The first purge comes after a random delay below every, each later one after 0.9 to
// 1.1 times every. This spreads the purges of instances that start together. (Purges at
// the same time do no harm.) A purge takes at most half of every. A failed purge is
// logged at level Warn and repeated after one second, then two, then four, up to every.
// Several janitors of one Cache purge one at a time.
//
// RunJanitor panics if every is not positive.
func (c *Cache[T]) RunJanitor(ctx context.Context, every time.Duration) {
	if every <= 0 {
		panic(fmt.Sprintf("sessioncache: RunJanitor: %s is no time", every))
	}
	retry := firstRetry
	for wait := rand.N(every); ; {
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return
		}
		if err := c.purgeOnce(ctx, every); err != nil && ctx.Err() == nil {
			wait = min(retry, every)
			retry = min(2*retry, every)
			c.config.logger.LogAttrs(ctx, slog.LevelWarn, "janitor failed", slog.Any("error", err), slog.Duration("again_in", wait))
		} else {
			wait = every - every/10 + rand.N(every/5+1)
			retry = firstRetry
		}
	}
}

// purgeOnce purges once, unless another janitor of this Cache does. A panic, for
// example in a tracer, becomes an error, because a purge must not end the service.
func (c *Cache[T]) purgeOnce(ctx context.Context, every time.Duration) (err error) {
	if !c.shared.purging.TryLock() {
		return nil
	}
	defer c.shared.purging.Unlock()
	defer func() {
		if reason := recover(); reason != nil {
			err = fmt.Errorf("sessioncache: janitor: panic: %v", reason)
		}
	}()
	_, err = c.Purge(ctx, WithBudget(max(1, every/2)))
	return err
}
