package sessioncache

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/rhaptos/sessiondb/db"
)

// extendTimeout is how long a lookup waits for the extension at most.
const extendTimeout = time.Second

// extend extends a session with an idle timeout that a lookup has just found. The
// lookup succeeds even if the extension fails: the next use tries again. In a caller's
// transaction extend does nothing, because its failure would abort the transaction.
func (s *store) extend(ctx context.Context, k key) {
	if s.inCallersTx() {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, extendTimeout)
	defer cancel()
	extend := func(ctx context.Context, queries *db.Queries) (int64, error) {
		return queries.ExtendSession(ctx, db.ExtendSessionParams{
			SessionID: k.id, Audience: s.config.audience, Secret: k.digest,
		})
	}
	// Not by retryWrite, which would close the connections of a pool of a standby.
	rows, err := extend(ctx, s.queries)
	if s.pooled() && rolledBack(err) { // by a server whose default is serializable
		rows, err = atReadCommitted(ctx, s, extend)
	}
	switch {
	case err != nil && errors.Is(ctx.Err(), context.Canceled): // the caller has gone
		logSession(ctx, s.config, slog.LevelDebug, "session not extended", k, slog.Any("error", err))
	case err != nil:
		logSession(ctx, s.config, slog.LevelWarn, "session not extended", k, slog.Any("error", err))
	case rows > 0: // zero if another caller has extended it
		logSession(ctx, s.config, slog.LevelDebug, "session extended", k)
	}
}
