package sessioncache

import (
	"context"
	"log/slog"

	"github.com/rhaptos/sessiondb/sessioncache/sid"
)

// log reports an event of one session. sid.ID logs as its fingerprint.
func (c *Cache[T]) log(ctx context.Context, level slog.Level, event string, session sid.ID, more ...slog.Attr) {
	if c.config.logger.Enabled(ctx, level) { // or making the attributes would cost something
		c.config.logger.LogAttrs(ctx, level, event, append(more, slog.Any("session", session))...)
	}
}

// logCount reports an event of many sessions.
func (c *Cache[T]) logCount(ctx context.Context, event string, n int64) {
	c.config.logger.LogAttrs(ctx, slog.LevelDebug, event, slog.Int64("sessions", n))
}
