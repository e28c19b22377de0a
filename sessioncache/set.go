package sessioncache

import (
	"context"
	"fmt"
	"log/slog"

	"github.com/rhaptos/sessiondb/db"
	"github.com/rhaptos/sessiondb/sessioncache/sid"
)

// Set stores a user under a new session id. The session is live from now on, by
// the database's clock, for [SessionDuration] or what [WithDuration] and
// [WithIdleTimeout] say.
//
// An id is never used twice. If it exists already, live or expired, Set deletes
// that session and returns [ErrConflict]: somebody is trying to get into another's
// session, or a bug hands out ids twice, and in either case nobody may stay
// logged in under it. This holds for a Set that is repeated because its answer
// was lost on the way, too: it costs the user a login, and lets nobody in.
func (c *Cache[T]) Set(ctx context.Context, id string, user T) error {
	began := moment()
	err := c.set(ctx, id, user)
	c.shared.metrics.set(began, err)
	return err
}

func (c *Cache[T]) set(ctx context.Context, id string, user T) error {
	const op = "set"
	sessionID, err := parseID(op, id)
	if err != nil {
		return err
	}
	dict, err := c.encode(op, user)
	if err != nil {
		return err
	}
	stored, err := c.insert(ctx, insertion{ctx, sessionID, dict})
	if err != nil {
		return interpret(op, err)
	}
	if !stored {
		c.conflict(ctx, sessionID)
		if _, err := c.delete(ctx, sessionID); err != nil {
			return interpret(op, err)
		}
		return fmt.Errorf("sessioncache: %s: %w", op, ErrConflict)
	}
	c.log(ctx, slog.LevelDebug, "session set", sessionID)
	return nil
}

// insertion is a session to be stored.
type insertion struct {
	ctx  context.Context // its caller's
	id   sid.ID
	dict string
}

// inserted is how that went: when it was not stored and there is no error, the id
// exists.
type inserted struct {
	stored bool
	err    error // this session's alone
}

// insert stores a session, together with others who store theirs when all
// connections are busy.
func (c *Cache[T]) insert(ctx context.Context, session insertion) (stored bool, err error) {
	var result inserted
	if c.sets == nil || len(session.dict) > largestTogether {
		result, err = c.insertAlone(ctx, session)
	} else {
		result, err = c.sets.Do(ctx, session)
	}
	if err == nil {
		err = result.err
	}
	return result.stored, err
}

func (c *Cache[T]) insertAlone(ctx context.Context, session insertion) (inserted, error) {
	rows, err := retryUnsent(ctx, c, func(ctx context.Context) (int64, error) {
		return c.queries.InsertSession(ctx, db.InsertSessionParams{
			SessionID: session.id,
			UserDict:  session.dict,
			Duration:  c.config.lifetime(),
		})
	})
	return inserted{stored: rows > 0}, err
}

// conflict reports an id that was about to be used a second time. Whether its
// session can be deleted or not, somebody has to know.
func (c *Cache[T]) conflict(ctx context.Context, id sid.ID) {
	c.shared.metrics.conflicts.Add(1)
	c.log(ctx, slog.LevelWarn, "session id used twice", id)
}
