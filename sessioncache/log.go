package sessioncache

import (
	"context"
	"log/slog"
)

// logSession logs an event of one session: a sid.ID, which logs as its fingerprint, a
// sid.Handle or a key.
func logSession[S any](ctx context.Context, config config, level slog.Level, event string, session S, more ...slog.Attr) {
	if logger := config.log(); logger.Enabled(ctx, level) { // saves the cost of making the attributes
		logger.LogAttrs(ctx, level, event, append(more, slog.Any("session", session))...)
	}
}

// logCount logs an event of many sessions.
func (s *store) logCount(ctx context.Context, event string, n int64) {
	s.config.log().LogAttrs(ctx, slog.LevelDebug, event, slog.Int64("sessions", n))
}
