package sessioncache

import (
	"context"
	"log/slog"

	"github.com/rhaptos/sessiondb/db"
	"github.com/rhaptos/sessiondb/sid"
)

// Delete ends a plain session. Once it has returned nil, no server finds the session.
// An absent session is not an error.
func (s *store) Delete(ctx context.Context, id string) error {
	const op = "delete"
	sessionID, err := parseID(op, id)
	if err == nil {
		err = interpret(op, s.delete(ctx, sessionID))
	}
	s.shared.metrics.call(&s.shared.metrics.deletes, true, err)
	if err == nil {
		logSession(ctx, s.config, slog.LevelDebug, "session deleted", sessionID)
	}
	return s.await(ctx, err, sessionID)
}

// delete removes a plain session, live or expired.
func (s *store) delete(ctx context.Context, id sid.ID) error {
	_, err := retryWrite(ctx, s, func(ctx context.Context, queries *db.Queries) (int64, error) {
		return queries.DeleteSession(ctx, db.DeleteSessionParams{SessionID: id, Audience: s.config.audience})
	})
	return err
}
