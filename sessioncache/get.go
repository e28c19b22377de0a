package sessioncache

import (
	"context"

	"github.com/rhaptos/sessiondb/sessioncache/sid"
)

// Get returns the user of a live session. ok is false, and err nil, when the
// session is absent or has expired by the database's clock: the two cannot be
// told apart, and neither is an error. With an error nothing is known about the
// session. [WithIdleTimeout] has it put off the session's end.
func (c *Cache[T]) Get(ctx context.Context, id string) (user T, ok bool, err error) {
	began := moment()
	user, ok, err = c.get(ctx, id)
	c.shared.metrics.get(began, ok, err)
	return user, ok, err
}

func (c *Cache[T]) get(ctx context.Context, id string) (user T, ok bool, err error) {
	const op = "get"
	sessionID, err := parseID(op, id)
	if err != nil {
		return user, false, err
	}
	session, err := c.lookUp(ctx, sessionID)
	if err != nil {
		return user, false, interpret(op, err)
	}
	if !session.live {
		return user, false, nil
	}
	if user, err = c.decode(op, session.dict); err != nil {
		return user, false, err
	}
	if session.extend {
		c.extend(ctx, sessionID)
	}
	return user, true, nil
}

// GetAll returns the users of those sessions that are live, each under its id as
// given. It is one statement, whatever their number, and puts off no end.
func (c *Cache[T]) GetAll(ctx context.Context, ids ...string) (users map[string]T, err error) {
	const op = "get all"
	sessionIDs := make(sid.IDs, len(ids))
	for i, id := range ids {
		if sessionIDs[i], err = parseID(op, id); err != nil {
			return nil, err
		}
	}
	sessions := make([]lookup, len(ids))
	if err := c.lookUpTogether(ctx, sessionIDs, sessions); err != nil {
		return nil, interpret(op, err)
	}
	users = make(map[string]T)
	for i, session := range sessions {
		if !session.live {
			continue
		}
		if users[ids[i]], err = c.decode(op, session.dict); err != nil {
			return nil, err
		}
	}
	return users, nil
}

// lookup is what the table says of an id.
type lookup struct {
	live   bool
	dict   []byte // the user as JSON, of a live session; nobody else has it
	extend bool   // time to put off the session's end
}

// lookUp finds a session, together with others who look for theirs when all
// connections are busy.
func (c *Cache[T]) lookUp(ctx context.Context, id sid.ID) (lookup, error) {
	if c.gets == nil {
		return c.lookUpAlone(ctx, id)
	}
	return c.gets.Do(ctx, id)
}

func (c *Cache[T]) lookUpAlone(ctx context.Context, id sid.ID) (session lookup, err error) {
	if c.config.idle > 0 {
		return c.lookUpIdle(ctx, id)
	}
	session.dict, err = retryRead(ctx, c, func(ctx context.Context) ([]byte, error) {
		return c.queries.GetSession(ctx, id)
	})
	session.live, err = found(err)
	return session, err
}
