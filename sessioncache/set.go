package sessioncache

import (
	"context"
	"fmt"
	"log/slog"
)

// Set stores a user under a new plain session id. The session is live from now on,
// by the database's clock, for [DefaultLifetime] or what [WithLifetime] and
// [WithIdleTimeout] say.
//
// An id is never used twice. If it exists already, live or expired, Set deletes
// that session and returns [ErrConflict]: somebody is trying to get into another's
// session, or a bug hands out ids twice, and in either case nobody may stay
// logged in under it. This holds for a Set that is repeated because its answer
// was lost on the way, too: it costs the user a login, and lets nobody in.
//
// Two Sets of one id so leave nobody logged in: once the second has returned
// ErrConflict, nobody is, unless a third began before that. In a caller's transaction
// the deletion happens when that is committed, although there was an error, and not
// if it is rolled back, as pgx.BeginFunc does for an error. Above isolation level read
// committed, a Set of an id that was stored after the transaction began is
// [ErrUnavailable] there, and deletes nothing.
//
// The handle of a session with a token is no id, and nor is one of another audience:
// Set on either returns ErrConflict and deletes nothing.
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
		// Whether the session can be deleted or not, somebody has to know.
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
