package sessioncache

import (
	"context"
	"log/slog"
	"time"

	"github.com/rhaptos/sessiondb/db"
	"github.com/rhaptos/sessiondb/sessioncache/sid"
)

// A session's end carries both of its limits: it is put off with use, from the
// session's start by the duration at most. The database's clock decides when, in
// the statement that looks the session up, so that a lookup that puts nothing off
// costs no more than any other.

// lifetime is how long a session lives from Set on if nobody asks for it.
func (c *config) lifetime() time.Duration {
	if c.idle > 0 {
		return min(c.idle, c.duration)
	}
	return c.duration
}

// extendBelow is how much of the idle timeout may be left when the end is put
// off.
func (c *config) extendBelow() time.Duration {
	return c.idle - c.idle/4
}

func (c *Cache[T]) lookUpIdle(ctx context.Context, id sid.ID) (session lookup, err error) {
	row, err := retryRead(ctx, c, func(ctx context.Context) (db.GetIdleSessionRow, error) {
		return c.queries.GetIdleSession(ctx, db.GetIdleSessionParams{
			SessionID:   id,
			Duration:    c.config.duration,
			ExtendBelow: c.config.extendBelow(),
		})
	})
	session.dict, session.extend = row.UserDict, row.Extend
	session.live, err = found(err)
	return session, err
}

func (c *Cache[T]) lookUpIdleTogether(ctx context.Context, ids, distinct []sid.ID, sessions []lookup) error {
	rows, err := retryRead(ctx, c, func(ctx context.Context) ([]db.GetIdleSessionsRow, error) {
		return c.queries.GetIdleSessions(ctx, db.GetIdleSessionsParams{
			SessionIDs:  distinct,
			Duration:    c.config.duration,
			ExtendBelow: c.config.extendBelow(),
		})
	})
	handOut(ids, distinct, sessions, rows, func(row db.GetIdleSessionsRow) (sid.ID, lookup) {
		return row.SessionID, lookup{live: true, dict: row.UserDict, extend: row.Extend}
	})
	return err
}

// extend puts off the end of a session that has just been found. The user is
// there whether that succeeds or not: at worst the session ends early, and the
// next Get tries again.
func (c *Cache[T]) extend(ctx context.Context, id sid.ID) {
	rows, err := retryUnsent(ctx, c, func(ctx context.Context) (int64, error) {
		return c.queries.ExtendSession(ctx, db.ExtendSessionParams{
			SessionID:   id,
			IdleTimeout: c.config.idle,
			Duration:    c.config.duration,
			ExtendBelow: c.config.extendBelow(),
		})
	})
	switch {
	case err != nil:
		c.log(ctx, slog.LevelWarn, "session not extended", id, slog.Any("error", err))
	case rows > 0: // others may have been quicker
		c.log(ctx, slog.LevelDebug, "session extended", id)
	}
}
