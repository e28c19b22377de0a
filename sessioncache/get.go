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
	dict, ok, err := c.lookUp(ctx, sessionID)
	if err != nil {
		return user, false, interpret(op, err)
	}
	if !ok {
		return user, false, nil
	}
	user, err = decode[T](op, dict)
	return user, err == nil, err
}

// lookUp returns the user of a live session as JSON.
func (c *Cache[T]) lookUp(ctx context.Context, id sid.ID) (dict string, ok bool, err error) {
	dict, err = retryUnsent(ctx, c, func(ctx context.Context) (string, error) {
		return c.queries.GetSession(ctx, id)
	})
	ok, err = found(err)
	return dict, ok, err
}
