package sessioncache

import (
	"context"
	"log/slog"

	"github.com/rhaptos/sessiondb/db"
)

// Update changes the user of a live session. It calls change once, with the user
// as stored, and stores what change makes of it; the session's times stay.
//
// Nobody else can change, rotate or delete the session in the meantime, so no
// update is lost and no deleted session comes back; Get does not wait. ok is
// false, and change is not called, when the session is absent or expired.
// An error of change is returned as it is, and nothing is stored.
//
// change must not use the database: it runs while a transaction holds a
// connection of the pool and the lock on the session. What T does not decode from
// the stored JSON is not stored again.
func (c *Cache[T]) Update(ctx context.Context, id string, change func(user *T) error) (ok bool, err error) {
	defer func() { c.shared.metrics.call(&c.shared.metrics.updates, ok, err) }()
	const op = "update"
	sessionID, err := parseID(op, id)
	if err != nil {
		return false, err
	}

	tx, err := retryUnsent(ctx, c, c.db.Begin)
	if err != nil {
		return false, interpret(op, err)
	}
	defer func() { _ = tx.Rollback(ctx) }() // does nothing after Commit
	queries := c.queries.WithTx(tx)

	dict, err := queries.LockSession(ctx, sessionID)
	if ok, err = found(err); !ok {
		return false, interpret(op, err)
	}
	newDict, err := c.change(op, dict, change)
	if err != nil {
		return false, err
	}
	rows, err := queries.UpdateSession(ctx, db.UpdateSessionParams{SessionID: sessionID, UserDict: newDict})
	if err != nil {
		return false, interpret(op, err)
	}
	if err := tx.Commit(ctx); err != nil {
		return false, interpret(op, err)
	}
	c.log(ctx, slog.LevelDebug, "session updated", sessionID)
	return rows > 0, nil
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
