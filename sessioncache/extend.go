package sessioncache

import (
	"context"
	"log/slog"
	"time"

	"github.com/rhaptos/sessiondb/db"
)

// extendTimeout is how long a lookup waits for the extension at most.
const extendTimeout = time.Second

// extend extends a session with an idle timeout that a lookup has just found. The
// lookup succeeds even if the extension fails: the next use tries again. In a caller's
// transaction extend does nothing, because its failure would abort the transaction.
func (c *Cache[T]) extend(ctx context.Context, k key) {
	if c.inCallersTx() {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, extendTimeout)
	defer cancel()
	rows, err := retryWrite(ctx, c, func(ctx context.Context, queries *db.Queries) (int64, error) {
		return queries.ExtendSession(ctx, db.ExtendSessionParams{
			SessionID: k.id, Audience: c.config.audience, Secret: k.secret,
		})
	})
	switch {
	case err != nil:
		logSession(ctx, c.config.logger, slog.LevelWarn, "session not extended", k, slog.Any("error", err))
	case rows > 0: // zero if another caller has extended it
		logSession(ctx, c.config.logger, slog.LevelDebug, "session extended", k)
	}
}
