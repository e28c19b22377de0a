package sessioncache

import (
	"context"
	"errors"
	"log/slog"

	"github.com/rhaptos/sessiondb/db"
)

// purgeFeed removes changes that are more than ten minutes old from the feed, in
// batches. A near cache that has not polled since then notices, and empties its memory.
func (c *Cache[T]) purgeFeed(ctx context.Context, p *purge) error {
	var changes int64
	_, err := c.withFeed(ctx, func() error {
		return p.run(ctx, func() (more bool, err error) {
			deleted, err := c.purgeChanges(ctx)
			changes += deleted
			return deleted >= purgeBatch, err
		})
	})
	switch {
	case errors.Is(err, errRawTransaction): // no savepoint is possible, and an error would abort the transaction
		return nil
	case rolledBack(err): // another purge is at work
		return nil
	case hasCode(err, insufficientPrivilege):
		c.shared.unpurged.Do(func() {
			c.config.logger.LogAttrs(ctx, slog.LevelWarn, "change feed not purged: the role needs SELECT and DELETE on session_change, "+
				"SELECT and UPDATE on session_change_state", slog.Any("error", withoutValues(err)))
		})
		return nil
	}
	if err == nil && changes > 0 {
		c.config.logger.LogAttrs(ctx, slog.LevelDebug, "change feed purged", slog.Int64("changes", changes))
	}
	return err
}

// purgeChanges removes a batch of changes. The horizon, which tells near caches that
// changes are gone, is committed with it. In a caller's transaction both run behind a
// savepoint, because the transaction must go on if there is no feed.
func (c *Cache[T]) purgeChanges(ctx context.Context) (deleted int64, err error) {
	err = c.inTx(ctx, func(queries *db.Queries) error {
		if _, err := queries.AdvanceChangeHorizon(ctx); err != nil {
			return err
		}
		deleted, err = queries.DeleteChanges(ctx, purgeBatch)
		return err
	})
	if err != nil {
		return 0, err
	}
	return deleted, nil
}
