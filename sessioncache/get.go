package sessioncache

import (
	"context"

	"github.com/rhaptos/sessiondb/sessioncache/sid"
)

// Get returns the user of a live session. ok is false, and err nil, when the
// session is absent or has expired by the database's clock: the two cannot be
// told apart, and neither is an error. With an error nothing is known about the
// session.
func (c *Cache[T]) Get(ctx context.Context, id string) (user T, ok bool, err error) {
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
	user, err = c.decode(op, session.dict)
	return user, err == nil, err
}

// lookup is what the table says of an id.
type lookup struct {
	live bool
	dict []byte // the user as JSON, of a live session; nobody else has it
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
	session.dict, err = retryUnsent(ctx, c, func(ctx context.Context) ([]byte, error) {
		return c.queries.GetSession(ctx, id)
	})
	session.live, err = found(err)
	return session, err
}
