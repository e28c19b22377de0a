package sessioncache

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"github.com/rhaptos/sessiondb/sid"
)

// Set stores a user under a new plain session id. The session is live from now on, by
// the database's clock, as long as [WithLifetime] and [WithIdleTimeout] say.
//
// Use an id only once. If it exists already, live or expired, Set deletes that session
// and returns [ErrConflict]: an attacker has planted the id (session fixation), or a
// bug makes ids twice. Nobody stays logged in under such an id. Do not repeat a Set
// after its answer was lost: if the first Set was stored, the second one ends it. The
// user then has to log in again, under a new id.
//
// If two Sets use one id, the session is gone when the second has returned ErrConflict.
// A third Set that runs at the same time may store a new one.
//
// In a caller's transaction the deletion happens when the transaction commits.
// Therefore commit after ErrConflict: a rollback, which pgx.BeginFunc does when its function
// returns an error, would keep the old session. Above isolation level read committed,
// Set of an id that was stored after the transaction began returns [ErrUnavailable] and
// deletes nothing.
//
// The id of a session with a token, or of a session of another audience, is not free:
// Set returns ErrConflict and deletes nothing.
//
// A Set, and the other Sets of its batch, waits while an uncommitted transaction holds
// the same id.
func (c *Cache[T]) Set(ctx context.Context, id string, user T) error {
	start := monotonicNow()
	sessionID, err := c.set(ctx, id, user)
	c.shared.metrics.set(start, err)
	if errors.Is(err, ErrConflict) || errors.Is(err, ErrUnavailable) { // a session may have ended
		return c.await(ctx, err, sessionID)
	}
	return err
}

func (c *Cache[T]) set(ctx context.Context, id string, user T) (sid.ID, error) {
	const op = "set"
	sessionID, err := parseID(op, id)
	if err != nil {
		return sessionID, err
	}
	data, _, err := c.encode(op, user)
	if err != nil {
		return sessionID, err
	}
	stored, err := c.insert(ctx, insertion{
		id: sessionID, user: data, lifetime: c.config.timeouts.lifetime, idle: c.config.timeouts.idle,
	})
	if err != nil {
		return sessionID, interpretStore(op, err)
	}
	if !stored {
		// Counted and logged before the deletion, which may fail.
		c.shared.metrics.conflicts.Add(1)
		logSession(ctx, c.config, slog.LevelWarn, "session id used twice", sessionID)
		if err := c.delete(ctx, sessionID); err != nil {
			return sessionID, interpret(op, err)
		}
		return sessionID, fmt.Errorf("sessioncache: %s: %w", op, ErrConflict)
	}
	logSession(ctx, c.config, slog.LevelDebug, "session set", sessionID)
	return sessionID, nil
}
