package sessioncache

import (
	"context"
	"errors"

	"github.com/rhaptos/sessiondb/sessioncache/sid"
)

// Get returns the user of a live plain session. ok is false, and err nil, when the
// session is absent or has expired by the database's clock: the two cannot be
// told apart, and neither is an error. With [ErrUnreadableSession] there is a
// session, whose user T does not decode; with any other error nothing is known about
// the session. Where the session has an idle timeout, Get extends it.
func (c *Cache[T]) Get(ctx context.Context, id string) (user T, ok bool, err error) {
	start := monotonicNow()
	user, ok, err = c.get(ctx, id)
	c.shared.metrics.get(start, ok, err)
	return user, ok, err
}

func (c *Cache[T]) get(ctx context.Context, id string) (user T, ok bool, err error) {
	const op = "get"
	sessionID, err := parseID(op, id)
	if err != nil {
		return user, false, err
	}
	r, err := c.lookUp(ctx, sessionID)
	if err != nil {
		return user, false, interpret(op, err)
	}
	if !r.isLivePlain() {
		return user, false, nil
	}
	if user, err = c.decode(op, r.userDict); err != nil {
		return user, false, err
	}
	if r.extend() {
		c.extend(ctx, key{id: sessionID})
	}
	return user, true, nil
}

// GetAll returns the users of those plain sessions that are live, each under its id
// as given. It is one statement, whatever their number, and extends no session. With
// [ErrUnreadableSession] some session has a user that T does not decode; the others
// are returned with it.
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
		if !r.isLivePlain() {
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
