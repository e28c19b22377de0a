package sessioncache

import (
	"context"

	"github.com/jackc/pgx/v5"

	"github.com/rhaptos/sessiondb/db"
	"github.com/rhaptos/sessiondb/sessioncache/sid"
)

// maxPasses is how often DeleteUser looks again before it keeps everybody from
// changing sessions for a moment.
const maxPasses = 10

// DeleteUser ends the sessions of a user, all of them or all but exceptIDs: log
// out everywhere, or everywhere else. It returns how many it deleted, expired
// ones that were still stored included.
//
// When it returns nil there has been a moment at which the user had no other
// session, even if one of them was being rotated to a new id just then. Against
// one that is rotated again and again, and always on Citus, it holds up everybody's
// changes, not their lookups, for the time of one statement.
func (c *Cache[T]) DeleteUser(ctx context.Context, userID string, exceptIDs ...string) (n int64, err error) {
	const op = "delete the user's sessions"
	if err := checkUserID(op, userID); err != nil {
		return 0, err
	}
	except := make(sid.IDs, len(exceptIDs))
	for i, id := range exceptIDs {
		if except[i], err = parseID(op, id); err != nil {
			return 0, err
		}
	}

	n, err = c.deleteUser(ctx, db.DeleteUserSessionsParams{UserID: userID, ExceptSessionIDs: except})
	if err != nil {
		return n, interpret(op, err)
	}
	c.logCount(ctx, "sessions of a user deleted", n)
	return n, nil
}

// deleteUser deletes a user's sessions until none is left. On one server looking
// is enough, unless somebody moves theirs without end, as who has stolen one
// might. On Citus it is not: a session that moves from shard to shard can be
// missed under both of its ids by every look.
func (c *Cache[T]) deleteUser(ctx context.Context, user db.DeleteUserSessionsParams) (n int64, err error) {
	distributed, err := retryRead(ctx, c, c.queries.IsDistributed)
	if err != nil {
		return 0, err
	}
	if !distributed {
		var left bool
		n, left, err = c.deleteUserByLooking(ctx, user)
		if err != nil || !left {
			return n, err
		}
	}
	held, err := c.deleteUserHeld(ctx, user)
	return n + held, err
}

// deleteUserByLooking deletes, and looks whether that was all: a statement sees the
// rows of the moment it began, and misses a session that moves to a new id
// meanwhile under both. It does so a few times, and tells whether any is left.
func (c *Cache[T]) deleteUserByLooking(ctx context.Context, user db.DeleteUserSessionsParams) (n int64, left bool, err error) {
	for range maxPasses {
		deleted, err := retryUnsent(ctx, c, func(ctx context.Context) (int64, error) {
			return c.queries.DeleteUserSessions(ctx, user)
		})
		n += deleted
		if err != nil {
			return n, true, err
		}
		left, err = retryRead(ctx, c, func(ctx context.Context) (bool, error) {
			return c.queries.HasUserSessions(ctx, db.HasUserSessionsParams(user))
		})
		if err != nil || !left {
			return n, left, err
		}
	}
	return n, true, nil
}

// deleteUserHeld deletes a user's sessions while none can move.
func (c *Cache[T]) deleteUserHeld(ctx context.Context, user db.DeleteUserSessionsParams) (n int64, err error) {
	err = pgx.BeginFunc(ctx, c.db, func(tx pgx.Tx) error {
		queries := c.queries.WithTx(tx)
		if err := queries.LockSessions(ctx); err != nil {
			return err
		}
		n, err = queries.DeleteUserSessions(ctx, user)
		return err
	})
	return n, err
}
