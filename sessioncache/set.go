package sessioncache

import (
	"context"
	"fmt"
	"log/slog"
)

// Set stores a user under a new plain session id. The session is live from now on, by
// the database's clock, as long as [WithLifetime] and [WithIdleTimeout] say.
//
// An id is never used twice. If it exists already, live or expired, Set deletes that
// session and returns [ErrConflict]: an attacker tries to get into the session, or a
// bug makes ids twice. Nobody stays logged in under such an id. This includes a Set
// that a caller repeats because the answer was lost: the user has to log in again, and
// nobody gets in.
//
// If two Sets use one id, the session is gone when the second has returned ErrConflict,
// unless a third Set began before that. In a caller's transaction the deletion happens
// when the transaction commits, even after the error. A rollback undoes it, and
// pgx.BeginFunc rolls back after an error. Above isolation level read committed, Set of
// an id that was stored after the transaction began returns [ErrUnavailable] and
// deletes nothing.
//
// The id of a session with a token, or of a session of another audience, is not free:
// Set returns ErrConflict and deletes nothing.
//
// A Set, and the other Sets of its batch, waits while an uncommitted transaction holds
// the same id.
func (c *Cache[T]) Set(ctx context.Context, id string, user T) error {
	start := monotonicNow()
	err := c.set(ctx, id, user)
	c.shared.metrics.set(start, err)
	if err != nil { // a conflict ends a session
		return c.propagate(ctx, err)
	}
	return nil
}

func (c *Cache[T]) set(ctx context.Context, id string, user T) error {
	const op = "set"
	sessionID, err := parseID(op, id)
	if err != nil {
		return err
	}
	dict, err := c.encode(op, user)
	if err != nil {
		return err
	}
	stored, err := c.insert(ctx, insertion{sessionID, dict})
	if err != nil {
		return interpretStore(op, err)
	}
	if !stored {
		// Counted and logged before the deletion, which may fail.
		c.shared.metrics.conflicts.Add(1)
		logSession(ctx, c.config.logger, slog.LevelWarn, "session id used twice", sessionID)
		if err := c.delete(ctx, sessionID); err != nil {
			return interpret(op, err)
		}
		return fmt.Errorf("sessioncache: %s: %w", op, ErrConflict)
	}
	logSession(ctx, c.config.logger, slog.LevelDebug, "session set", sessionID)
	return nil
}
