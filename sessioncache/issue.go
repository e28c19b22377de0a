package sessioncache

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"github.com/rhaptos/sessiondb/db"
	"github.com/rhaptos/sessiondb/sid"
)

// Issue stores a session for a user and returns the token that opens it. The table
// holds only a digest of the token's secret, and nobody can read the token again later.
// The session is live from now on. Its lifetime and idle timeout are those of the
// Cache, unless options change them. Unless the session is [Anonymous], its time of
// authentication is now.
//
// Issue shares statements with other calls, unless it has the option [MaxSessions],
// [Replacing] or [Carry]: then it is a transaction.
func (c *Cache[T]) Issue(ctx context.Context, user T, options ...SessionOption) (token sid.Token, err error) {
	const op = "issue"
	start := monotonicNow()
	token = sid.NewToken()
	if err = c.issue(ctx, op, token, user, c.newSession(options)); err != nil {
		token = sid.Token{}
	} else {
		logSession(ctx, c.config, slog.LevelDebug, "session issued", token.Handle())
	}
	c.shared.metrics.set(start, err)
	return token, err
}

func (c *Cache[T]) issue(ctx context.Context, op string, token sid.Token, user T, options newSession) error {
	data, userID, err := c.encode(op, user)
	if err != nil {
		return err
	}
	k, err := c.keyOf(op, token)
	if err != nil {
		return err
	}
	session := insertion{
		id: k.id, secret: k.digest, family: k.family(), user: data, userID: userID,
		lifetime: options.timeouts.lifetime, idle: options.timeouts.idle,
		anonymous: options.anonymous, remembered: options.remembered, device: options.device,
	}
	if options.limit == 0 && len(options.replaced) == 0 {
		stored, err := c.insert(ctx, session)
		if err == nil && !stored { // two equal values of 128 random bits: the generator is broken
			err = ErrConflict
		}
		return interpretStore(op, err)
	}
	replaced, err := c.keysOf(op, options.replaced)
	if err != nil {
		return err
	}
	carry := carryOf[T](options.carry)
	if carry == nil || len(replaced) == 0 {
		return c.replace(ctx, op, session, options, replaced, nil)
	}
	return c.issueCarrying(ctx, op, session, options, replaced, carry)
}

// visitor is the session whose data a login takes over.
type visitor struct {
	key
	user string // as JSON
}

// issueCarrying takes a visitor's data over. It reads the data first, and stores the result
// if they are still the same; otherwise it begins again. Neither a connection nor a lock is
// held while carry runs.
func (c *Cache[T]) issueCarrying(ctx context.Context, op string, session insertion, options newSession, replaced []key,
	carry func(T, *T) error,
) error {
	from, err := c.keyOf(op, options.replaced[0])
	if err != nil {
		return err
	}
	login := session
	for tried := (attempts{}); ; {
		r, err := c.lookUp(ctx, from.id)
		if err != nil {
			return interpret(op, err)
		}
		verdict := judge(r, from)
		if verdict == isInFlight { // another request has renewed it, or logged in
			return c.superseded(ctx, op, from, verdict)
		}
		if verdict != isLive || !r.isAnonymous() {
			return c.replace(ctx, op, login, options, replaced, nil)
		}
		was := visitor{from, string(r.UserDict)} // a copy, as in update
		if err := tried.again(ctx, op, was.user); err != nil {
			return err
		}
		if session.user, err = c.carryOver(op, r.UserDict, login, carry); err != nil {
			return err
		}
		if err := c.replace(ctx, op, session, options, replaced, &was); !errors.Is(err, errChanged) {
			return err
		}
	}
}

// carryOver decodes both users anew, because carry may have changed what they refer to in
// an earlier attempt.
func (c *Cache[T]) carryOver(op string, from []byte, login insertion, carry func(T, *T) error) (string, error) {
	data, err := c.decode(op, from)
	if err != nil {
		return "", err
	}
	carried, carriedID, err := c.change(op, []byte(login.user), func(user *T) error { return carry(data, user) })
	if err == nil && carriedID != login.userID { // what a visitor claims to be proves nothing
		err = fmt.Errorf("sessioncache: %s: %w", op, ErrUserChanged)
	}
	return carried, err
}

// replace stores a session in a transaction, in which it ends the sessions that it
// replaces and the user's oldest ones above the limit. If the session of the visitor, unless
// that is nil, holds other data by now, replace returns errChanged, and nothing has happened.
//
// The order of locks is that of all transactions: the user first, then rows.
func (s *store) replace(ctx context.Context, op string, session insertion, options newSession, replaced []key, from *visitor) error {
	limit := options.limit
	if options.anonymous { // a claimed user_id ends no sessions
		limit = 0
	}
	if limit > 0 {
		if err := checkUserID(op, session.userID); err != nil {
			return err
		}
		if err := s.checkIsolation(ctx, op); err != nil {
			return err
		}
	}
	ended := []sid.ID{} // not nil, which means any
	err := s.inTx(ctx, func(in *store) error {
		ended = ended[:0]
		if limit > 0 {
			if err := in.queries.LockUser(ctx, db.LockUserParams{Audience: s.config.audience, UserID: session.userID}); err != nil {
				return err
			}
		}
		if err := in.retireAll(ctx, replaced, from); err != nil {
			return err
		}
		stored, err := in.insertSingle(ctx, session)
		if err == nil && !stored {
			err = ErrConflict
		}
		if err != nil || limit == 0 {
			return err
		}
		ended, err = in.queries.DeleteOldestUserSessions(ctx, db.DeleteOldestUserSessionsParams{
			Audience: s.config.audience, UserID: session.userID, Newest: session.id, Keep: int64(limit - 1),
		})
		return err
	})
	if errors.Is(err, errChanged) {
		return err
	}
	s.forget(append(ended, idsOf(replaced)...))
	return interpretStore(op, err)
}

// retireAll ends sessions in the order of the keys. A browser may have several tokens of the
// visitor's session: only the one whose data were read counts.
func (s *store) retireAll(ctx context.Context, keys []key, from *visitor) error {
	retired := false
	for _, k := range keys {
		var err error
		switch {
		case from == nil || from.id != k.id:
			_, err = s.retire(ctx, k, nil)
		case !retired:
			retired = true
			_, err = s.retire(ctx, from.key, &from.user)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// carryOf returns the function of [Carry], or nil.
func carryOf[T any](carry any) func(T, *T) error {
	if carry == nil {
		return nil
	}
	f, ok := carry.(func(T, *T) error)
	if !ok {
		panic(fmt.Sprintf("sessioncache: Carry: the function is a %T, which is not for the Cache's user type", carry))
	}
	return f
}
