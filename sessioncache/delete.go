package sessioncache

import (
	"context"
	"log/slog"

	"github.com/rhaptos/sessiondb/sessioncache/sid"
)

// Delete ends a session: once it has returned nil, no server finds it any more.
// A session that is absent is not an error.
func (c *Cache[T]) Delete(ctx context.Context, id string) (err error) {
	defer func() { c.shared.metrics.call(&c.shared.metrics.deletes, true, err) }()
	const op = "delete"
	sessionID, err := parseID(op, id)
	if err != nil {
		return err
	}
	if _, err := c.delete(ctx, sessionID); err != nil {
		return interpret(op, err)
	}
	c.log(ctx, slog.LevelDebug, "session deleted", sessionID)
	return nil
}

// delete removes a session, live or expired, and tells whether it was there.
func (c *Cache[T]) delete(ctx context.Context, id sid.ID) (was bool, err error) {
	rows, err := retryUnsent(ctx, c, func(ctx context.Context) (int64, error) {
		return c.queries.DeleteSession(ctx, id)
	})
	return rows > 0, err
}
