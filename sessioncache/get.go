package sessioncache

import (
	"context"
	"errors"

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
	if c.near != nil {
		if user, ok = c.getNear(ctx, sessionID); ok {
			return user, true, nil
		}
	}
	start := monotonicNow()
	user, ok, err = c.get(ctx, op, sessionID)
	c.shared.metrics.get(start, ok, err)
	return user, ok, err
}

// getNear looks in the near cache.
func (c *Cache[T]) getNear(ctx context.Context, id sid.ID) (user T, ok bool) {
	k, _ := c.near.get(ctx, id)
	switch {
	case k == nil:
		return user, false
	case !k.plain:
		c.shared.rejected.Add(1)
		return user, false
	}
	return c.near.clone(k.user), true
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

// isLivePlain tells whether an id alone opens the session.
func isLivePlain(r *row) bool {
	return r != nil && r.isPlain() && r.ttl() >= 0
}

// GetAll returns the users of all live plain sessions among ids, each under its id as
// given. It is one statement for all ids and extends no session. With
// [ErrUnreadableSession], T does not decode some of the users; the others are returned.
func (c *Cache[T]) GetAll(ctx context.Context, ids ...string) (users map[string]T, err error) {
	const op = "get all"
	sessionIDs := make(sid.IDs, len(ids))
	for i, id := range ids {
		if sessionIDs[i], err = parseID(op, id); err != nil {
			return nil, err
		}
	}
	rows, err := c.lookUpAll(ctx, sessionIDs)
	if err != nil {
		return nil, interpret(op, err)
	}
	users = make(map[string]T)
	var unreadable error
	for i, r := range rows {
		if !isLivePlain(r) {
			continue
		}
		user, err := c.decode(op, r.userDict)
		if err != nil {
			unreadable = errors.Join(unreadable, err)
			continue
		}
		users[ids[i]] = user
	}
	return users, unreadable
}
