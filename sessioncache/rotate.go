package sessioncache

import (
	"context"
	"fmt"
	"log/slog"

	"github.com/rhaptos/sessiondb/db"
	"github.com/rhaptos/sessiondb/sessioncache/sid"
)

// Rotate moves a live session to a new id, as OWASP's Session Management Cheat
// Sheet asks for whenever a user's privileges change. The user and the times
// stay: a session cannot be prolonged by rotating it. From one instant to the
// next the old id is dead and the new one live; of several who rotate the same
// session, one succeeds.
//
// ok is false when the old id is absent or expired. When the new id exists
// already, Rotate deletes both sessions and returns [ErrConflict], as Set does;
// the old id itself is such an id.
func (c *Cache[T]) Rotate(ctx context.Context, oldID, newID string) (ok bool, err error) {
	defer func() { c.shared.metrics.call(&c.shared.metrics.rotations, ok, err) }()
	const op = "rotate"
	oldSession, err := parseID(op, oldID)
	if err != nil {
		return false, err
	}
	newSession, err := parseID(op, newID)
	if err != nil {
		return false, err
	}

	moved, err := c.rotate(ctx, oldSession, newSession)
	if err != nil {
		return false, interpret(op, err)
	}
	if moved {
		c.log(ctx, slog.LevelDebug, "session rotated", newSession, slog.Any("old", oldSession))
		return true, nil
	}

	// Nothing moved: either there was nothing to move, or the new id was taken.
	taken, err := c.delete(ctx, newSession)
	if err != nil {
		return false, interpret(op, err)
	}
	if taken {
		c.conflict(ctx, newSession)
		return false, fmt.Errorf("sessioncache: %s: %w", op, ErrConflict)
	}
	return false, nil
}

// rotate moves a session and tells whether it did.
func (c *Cache[T]) rotate(ctx context.Context, oldID, newID sid.ID) (moved bool, err error) {
	if oldID == newID {
		return false, nil
	}
	_, err = retryUnsent(ctx, c, func(ctx context.Context) (sid.ID, error) {
		return c.queries.RotateSession(ctx, db.RotateSessionParams{OldSessionID: oldID, NewSessionID: newID})
	})
	return found(err)
}
