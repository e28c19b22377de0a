package sessioncache

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"time"

	"github.com/rhaptos/sessiondb/db"
	"github.com/rhaptos/sessiondb/sid"
)

// Update changes the user of a live plain session. It reads the user from the database,
// calls change with it, and stores the result if the session still holds what was read.
// If another change came first, it begins again. Therefore no update is lost, and no
// deleted session comes back. The session's times stay.
//
// While change runs, Update holds no connection, transaction or lock. change may be called
// several times, each time with a user decoded anew: what it does beside changing the user
// must bear that. Read a request's body before.
//
// ok is false when the session is absent or expired. An error of change is returned as it
// is, and nothing is stored. If change replaces the user_id, nothing is stored and the
// error is [ErrUserChanged]; only an anonymous session may come to name a user. If the
// database suppresses the change, for example by a trigger, the error is [ErrUnavailable].
// Fields of the stored JSON that T does not decode are lost.
func (c *Cache[T]) Update(ctx context.Context, id string, change func(user *T) error, options ...UpdateOption) (ok bool, err error) {
	const op = "update"
	k, err := parseKey(op, id)
	if err == nil {
		ok, err = c.update(ctx, op, k, change)
	}
	c.shared.metrics.call(&c.shared.metrics.updates, ok, err)
	return ok, c.awaitUpdate(ctx, err, k, options)
}

// UpdateSession is [Cache.Update] for the session that a token opens. A superseded
// token changes no user: it is treated as in [Cache.Authenticate].
func (c *Cache[T]) UpdateSession(ctx context.Context, token sid.Token, change func(user *T) error, options ...UpdateOption) (ok bool, err error) {
	const op = "update the session"
	k, err := c.keyOf(op, token)
	if err == nil {
		ok, err = c.update(ctx, op, k, change)
	}
	c.shared.metrics.call(&c.shared.metrics.updates, ok, err)
	return ok, c.awaitUpdate(ctx, err, k, options)
}

// UpdateOption changes one [Cache.Update] or [Cache.UpdateSession].
type UpdateOption func(*updateOptions)

type updateOptions struct{ unawaited bool }

// Unawaited has an update return without the wait for near caches ([NearCacheStaleness]).
// This Cache shows the new state at once, other servers within 200 ms. It is for data that is
// no matter of security, for example a basket.
//
// Default: an update waits, if the Cache has [WithNearCache].
func Unawaited() UpdateOption {
	return func(o *updateOptions) { o.unawaited = true }
}

func (c *Cache[T]) awaitUpdate(ctx context.Context, err error, k key, options []UpdateOption) error {
	var o updateOptions
	for _, option := range options {
		option(&o)
	}
	if !o.unawaited {
		return c.await(ctx, err, k.id)
	}
	if mayHaveChanged(err) {
		c.forget([]sid.ID{k.id})
	}
	return err
}

func (c *Cache[T]) update(ctx context.Context, op string, k key, change func(user *T) error) (ok bool, err error) {
	for tried := (attempts{}); ; {
		r, err := c.lookUp(ctx, k.id)
		if err != nil {
			return false, interpret(op, err)
		}
		switch verdict := judge(r, k); verdict {
		case isLive:
		case isInFlight, isStolen:
			if tried.begun() { // it was live when the call began
				verdict = isInFlight
			}
			return false, c.superseded(ctx, op, k, verdict)
		default:
			return false, nil
		}
		old := string(r.UserDict) // a copy: a T of RawMessage is the JSON itself, which change may overwrite
		if err := tried.again(ctx, op, old); err != nil {
			return false, err
		}
		user, _, err := c.change(op, r.UserDict, change)
		if err != nil {
			return false, err
		}
		stored, err := c.replaceUser(ctx, op, k, old, user)
		if stored || err != nil {
			return stored, err
		}
	}
}

// replaceUser stores a user if the session still holds the old one.
func (s *store) replaceUser(ctx context.Context, op string, k key, old, user string) (stored bool, err error) {
	s.noteStored()
	same, err := retryWrite(ctx, s, func(ctx context.Context, queries *db.Queries) (bool, error) {
		return queries.UpdateSession(ctx, db.UpdateSessionParams{
			SessionID: k.id, Audience: s.config.audience, Secret: k.digest, OldUserDict: old, UserDict: user,
		})
	})
	if stored, err = found(err); err != nil || !stored {
		return false, interpretStore(op, err)
	}
	if !same {
		return false, fmt.Errorf("sessioncache: %s: %w", op, ErrUserChanged)
	}
	logSession(ctx, s.config, slog.LevelDebug, "session updated", k)
	return true, nil
}

// change applies a change to a user as JSON.
func (c *Cache[T]) change(op string, data []byte, change func(*T) error) (userJSON, userID string, err error) {
	user, err := c.decode(op, data)
	if err != nil {
		return "", "", err
	}
	if err := change(&user); err != nil {
		return "", "", err
	}
	return c.encode(op, user)
}

// errChanged is the result of a change that another change has come before.
var errChanged = errors.New("the session has changed meanwhile")

// errSuppressed says why a change cannot be stored, although nobody else changes the
// session.
var errSuppressed = errors.New("the database suppresses the change: a trigger, a rule or row-level security")

// attempts are those of one change that is stored only if no other change came first.
type attempts struct {
	data       string // that the last attempt began with; empty before the first
	unchanged  int    // attempts in a row that failed although nothing had changed
	pauseLimit time.Duration
}

const (
	// suppressedAttempts is after how many attempts without a change in between the database
	// must be what suppresses it. A few are not enough: others may have changed the user and
	// changed it back meanwhile. One of 16 callers who do nothing else meets that every other
	// time, and eight times in a row once in some hundred updates.
	suppressedAttempts = 32

	firstPauseLimit = 200 * time.Microsecond
	lastPauseLimit  = 10 * time.Millisecond
)

func (a *attempts) begun() bool {
	return a.data != ""
}

// again is called before each attempt, with what it begins with. Before all but the first
// it pauses for a random moment. It returns an error if another attempt is in vain.
func (a *attempts) again(ctx context.Context, op string, data string) error {
	if !a.begun() {
		a.data, a.pauseLimit = data, firstPauseLimit
		return nil
	}
	if a.data != data {
		a.unchanged = 0
	} else if a.unchanged++; a.unchanged == suppressedAttempts {
		return fmt.Errorf("sessioncache: %s: %w: %w", op, ErrUnavailable, errSuppressed)
	}
	a.data = data
	select {
	case <-time.After(rand.N(a.pauseLimit)):
		a.pauseLimit = min(2*a.pauseLimit, lastPauseLimit)
		return nil
	case <-ctx.Done():
		return interpret(op, ctx.Err())
	}
}
