package sessionhttp

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/rhaptos/sessiondb/sessioncache"
	"github.com/rhaptos/sessiondb/sid"
)

// timedCache is the Manager's Cache with a time limit for each use of the database
// ([WithTimeout]). It has only the methods that package sessionhttp needs, so that none
// without a limit is called by mistake.
type timedCache[T any] struct {
	cache   *sessioncache.Cache[T]
	timeout time.Duration
	inTx    bool // a transaction of Tx, or a savepoint
}

// forChange is the limit for a call that waits for near caches at its end. The wait is no
// use of the database, and Cache has no way to exclude it. So the limit is longer by the
// wait, outside of a transaction, where calls do not wait.
func (c *timedCache[T]) forChange() time.Duration {
	if c.inTx {
		return c.timeout
	}
	return c.timeout + sessioncache.NearCacheStaleness
}

// Tx limits begin and commit. fn may take as long as it likes.
func (c *timedCache[T]) Tx(ctx context.Context, fn func(tx pgx.Tx, cache *timedCache[T]) error) error {
	limited := newLimit(ctx, c.timeout)
	defer limited.stop()
	return c.cache.Tx(limited, func(tx pgx.Tx, cache *sessioncache.Cache[T]) error {
		limited.pause()
		defer limited.resume(c.forChange()) // for the commit or the rollback, also after a panic
		return fn(tx, &timedCache[T]{cache, c.timeout, true})
	})
}

// UpdateSession limits the statements. change may take as long as it likes.
func (c *timedCache[T]) UpdateSession(ctx context.Context, token sid.Token, change func(*T) error, options ...sessioncache.UpdateOption) (bool, error) {
	limited := newLimit(ctx, c.forChange())
	defer limited.stop()
	return c.cache.UpdateSession(limited, token, func(user *T) error {
		limited.pause()
		defer limited.resume(c.forChange())
		return change(user)
	}, options...)
}

func (c *timedCache[T]) Authenticate(ctx context.Context, token sid.Token) (sessioncache.Session[T], bool, error) {
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	return c.cache.Authenticate(ctx, token)
}

func (c *timedCache[T]) UserSessions(ctx context.Context, userID string) ([]sessioncache.Session[T], error) {
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	return c.cache.UserSessions(ctx, userID)
}

// Issue limits the statements. carry, if it is not nil, may take as long as it likes (see
// [sessioncache.Carry]).
func (c *timedCache[T]) Issue(ctx context.Context, user T, carry func(T, *T) error, options ...sessioncache.SessionOption) (sid.Token, error) {
	limited := newLimit(ctx, c.timeout)
	defer limited.stop()
	if carry != nil {
		options = append(options, sessioncache.Carry(func(visitor T, user *T) error {
			limited.pause()
			defer limited.resume(c.timeout)
			return carry(visitor, user)
		}))
	}
	return c.cache.Issue(limited, user, options...)
}

func (c *timedCache[T]) Retire(ctx context.Context, token sid.Token) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	return c.cache.Retire(ctx, token)
}

func (c *timedCache[T]) Renew(ctx context.Context, token sid.Token, options ...sessioncache.RenewOption) (sid.Token, bool, error) {
	ctx, cancel := context.WithTimeout(ctx, c.forChange())
	defer cancel()
	return c.cache.Renew(ctx, token, options...)
}

func (c *timedCache[T]) Revoke(ctx context.Context, tokens ...sid.Token) error {
	ctx, cancel := context.WithTimeout(ctx, c.forChange())
	defer cancel()
	return c.cache.Revoke(ctx, tokens...)
}

func (c *timedCache[T]) RevokeAll(ctx context.Context, token sid.Token) (n int64, ok bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, c.forChange())
	defer cancel()
	return c.cache.RevokeAll(ctx, token)
}

func (c *timedCache[T]) RevokeOthers(ctx context.Context, token sid.Token) (n int64, ok bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, c.forChange())
	defer cancel()
	return c.cache.RevokeOthers(ctx, token)
}

func (c *timedCache[T]) RevokeSession(ctx context.Context, token sid.Token, handle sid.Handle) (was, ok bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, c.forChange())
	defer cancel()
	return c.cache.RevokeSession(ctx, token, handle)
}

// withInFlight is for a request whose token was live when it began.
func (c *timedCache[T]) withInFlight() *timedCache[T] {
	return &timedCache[T]{c.cache.WithInFlight(), c.timeout, c.inTx}
}

func (c *timedCache[T]) UserID(user T) (string, error) {
	return c.cache.UserID(user)
}

func (c *timedCache[T]) Lifetime() time.Duration {
	return c.cache.Lifetime()
}
