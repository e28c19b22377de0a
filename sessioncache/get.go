package sessioncache

import "context"

// Get returns the user of a live plain session. ok is false, and err nil, when the
// session is absent or has expired by the database's clock. With [ErrUnreadableSession]
// the session exists, but T does not decode its user. With [ErrUnavailable] nothing is
// known about the session. Get extends a session that has an idle timeout.
func (c *Cache[T]) Get(ctx context.Context, id string) (user T, ok bool, err error) {
	const op = "get"
	k, err := parseKey(op, id)
	if err != nil {
		c.shared.metrics.failed(err)
		return user, false, err
	}
	if stored, _, ok := c.near.get(k.id, isPlain[T]); ok {
		return c.near.clone(stored.user), true, nil
	}
	start := monotonicNow()
	user, ok, err = c.get(ctx, op, k)
	c.shared.metrics.get(start, ok, err)
	return user, ok, err
}

// isPlain reports whether an id alone opens a session in memory.
func isPlain[T any](k *kept[T]) bool {
	return k.plain
}

func (c *Cache[T]) get(ctx context.Context, op string, k key) (user T, ok bool, err error) {
	r, err := c.lookUp(ctx, k.id)
	if err != nil {
		return user, false, interpret(op, err)
	}
	if judge(r, k) != isLive {
		return user, false, nil
	}
	if user, err = c.decode(op, r.UserDict); err != nil {
		return user, false, err
	}
	c.near.keep(r, Session[T]{User: user})
	if r.extend() {
		c.extend(ctx, k)
	}
	return user, true, nil
}
