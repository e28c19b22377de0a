package sessioncache

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"time"
)

// firstRetry is how long the janitor waits after a failure; it doubles from there.
const firstRetry = time.Second

// RunJanitor purges again and again until ctx ends; it blocks, so give it a
// goroutine of its own:
//
//	go cache.RunJanitor(ctx, 5*time.Minute)
//
// The first purge comes after some part of every, and each later one up to a
// tenth sooner or later than every, so that instances that start together do not
// purge together. (Nothing is wrong if they do.) A purge takes half of every at
// most. One that fails is logged at level Warn and tried again after a second,
// then two, then four, up to every. However many janitors a Cache has, one purges
// at a time. An every of zero or less panics.
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

// purgeOnce purges once, unless somebody does. A panic, in a tracer say, is an error:
// it must not end the service that only wanted to be tidy.
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
