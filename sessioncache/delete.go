package sessioncache

import (
	"context"
	"log/slog"

	"github.com/rhaptos/sessiondb/db"
	"github.com/rhaptos/sessiondb/sid"
)

// Delete ends a plain session. Once it has returned nil, no server finds the session.
// An absent session is not an error.
func (c *Cache[T]) Delete(ctx context.Context, id string) error {
	const op = "delete"
	sessionID, err := parseID(op, id)
	if err == nil {
		err = interpret(op, c.delete(ctx, sessionID))
	}
	c.shared.metrics.call(&c.shared.metrics.deletes, true, err)
	if err == nil {
		logSession(ctx, c.config.logger, slog.LevelDebug, "session deleted", sessionID)
	}
	return c.await(ctx, err, sessionID)
}

// delete removes a plain session, live or expired.
func (c *Cache[T]) delete(ctx context.Context, id sid.ID) error {
	_, err := retryWrite(ctx, c, func(ctx context.Context, queries *db.Queries) (int64, error) {
		return queries.DeleteSession(ctx, db.DeleteSessionParams{SessionID: id, Audience: c.config.audience})
	})
	return err
}
