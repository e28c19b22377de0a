package sessioncache

import (
	"context"

	"github.com/rhaptos/sessiondb/sid"
)

// Get returns the user of a live plain session. ok is false, and err nil, when the
// session is absent or has expired by the database's clock. With [ErrUnreadableSession]
// the session exists, but T does not decode its user. With [ErrUnavailable] nothing is
// known about the session. Get extends a session that has an idle timeout.
func (c *Cache[T]) Get(ctx context.Context, id string) (user T, ok bool, err error) {
	const op = "get"
	sessionID, err := parseID(op, id)
	if err != nil {
		c.shared.metrics.failed(err)
		return user, false, err
	}
	if k, _, ok := c.near.get(sessionID, isPlain[T]); ok {
		return c.near.clone(k.user), true, nil
	}
	start := monotonicNow()
	user, ok, err = c.get(ctx, op, sessionID)
	c.shared.metrics.get(start, ok, err)
	return user, ok, err
}

// isPlain reports whether an id alone opens a session in memory.
func isPlain[T any](k *kept[T]) bool {
	return k.plain
}

func (c *Cache[T]) get(ctx context.Context, op string, sessionID sid.ID) (user T, ok bool, err error) {
	r, err := c.lookUp(ctx, sessionID)
	if err != nil {
		return user, false, interpret(op, err)
	}
	if !isLivePlain(r) {
		return user, false, nil
	}
	if user, err = c.decode(op, r.userDict); err != nil {
		return user, false, err
	}
	c.near.keep(r, user)
	if r.extend() {
		c.extend(ctx, key{id: sessionID})
	}
	return user, true, nil
}

// isLivePlain reports whether an id alone opens the session.
func isLivePlain(r *row) bool {
	return r != nil && r.isPlain() && r.ttl() >= 0
}
