package sessioncache

import (
	"context"
	"fmt"
	"log/slog"

	"github.com/rhaptos/sessiondb/db"
	"github.com/rhaptos/sessiondb/sid"
)

// Update changes the user of a live plain session. It calls change once, with the
// stored user, and stores the result. The session's times stay.
//
// The session's row is locked meanwhile, so no update is lost and no deleted session
// comes back. Get does not wait. ok is false, and change is not called, when the
// session is absent or expired. An error of change is returned as it is, and nothing is
// stored. If change replaces the user_id, nothing is stored and the error is
// [ErrUserChanged].
//
// change must not use the database: it runs while a transaction holds a connection of
// the pool and the lock. Fields of the stored JSON that T does not decode are lost.
func (c *Cache[T]) Update(ctx context.Context, id string, change func(user *T) error, options ...UpdateOption) (ok bool, err error) {
	const op = "update"
	k, err := parseKey(op, id)
	if err == nil {
		ok, err = c.update(ctx, op, k, change)
	}
	c.shared.metrics.call(&c.shared.metrics.updates, ok, err)
	return ok, c.awaitUpdate(ctx, err, k, options)
}

// UpdateSession is [Cache.Update] for the session that a token opens. A superseded
// token changes no user: it is treated as in [Cache.Authenticate].
func (c *Cache[T]) UpdateSession(ctx context.Context, token sid.Token, change func(user *T) error, options ...UpdateOption) (ok bool, err error) {
	const op = "update the session"
	k, err := c.keyOf(op, token)
	if err == nil {
		ok, err = c.update(ctx, op, k, change)
	}
	if !ok && err == nil {
		err = c.whyNot(ctx, op, k)
	}
	c.shared.metrics.call(&c.shared.metrics.updates, ok, err)
	return ok, c.awaitUpdate(ctx, err, k, options)
}

// UpdateOption changes one [Cache.Update] or [Cache.UpdateSession].
type UpdateOption func(*updateOptions)

type updateOptions struct{ unawaited bool }

// Unawaited has an update return without the wait for near caches ([NearCacheStaleness]).
// This Cache shows the new state at once, other servers within 200 ms. It is for data that is
// no matter of security, for example a basket.
//
// Default: an update waits, if the Cache has [WithNearCache].
func Unawaited() UpdateOption {
	return func(o *updateOptions) { o.unawaited = true }
}

func (c *Cache[T]) awaitUpdate(ctx context.Context, err error, k key, options []UpdateOption) error {
	var o updateOptions
	for _, option := range options {
		option(&o)
	}
	if !o.unawaited {
		return c.await(ctx, err, k.id)
	}
	if mayHaveChanged(err) {
		c.forget([]sid.ID{k.id})
	}
	return err
}

func (c *Cache[T]) update(ctx context.Context, op string, k key, change func(user *T) error) (ok bool, err error) {
	tx, err := c.begin(ctx)
	if err != nil {
		return false, interpret(op, err)
	}
	defer func() { _ = tx.Rollback(ctx) }() // does nothing after Commit
	queries := c.queries.WithTx(tx)

	stored, err := queries.LockSession(ctx, db.LockSessionParams{SessionID: k.id, Audience: c.config.audience, Secret: k.secret})
	if ok, err = found(err); !ok {
		return false, interpret(op, err)
	}
	dict, err := c.change(op, stored.UserDict, change)
	if err != nil {
		return false, err
	}
	userID, err := queries.UpdateSession(ctx, db.UpdateSessionParams{
		SessionID: k.id, Audience: c.config.audience, Secret: k.secret, UserDict: dict,
	})
	if ok, err = found(err); !ok {
		return false, interpretStore(op, err)
	}
	if userID != stored.UserID {
		return false, fmt.Errorf("sessioncache: %s: %w", op, ErrUserChanged)
	}
	if err := tx.Commit(ctx); err != nil {
		return false, interpretStore(op, err) // of a deferred constraint
	}
	logSession(ctx, c.config.logger, slog.LevelDebug, "session updated", k)
	return true, nil
}

// change applies a change to a user as JSON.
func (c *Cache[T]) change(op string, dict []byte, change func(*T) error) (string, error) {
	user, err := c.decode(op, dict)
	if err != nil {
		return "", err
	}
	if err := change(&user); err != nil {
		return "", err
	}
	return c.encode(op, user)
}
