package sessioncache

import (
	"context"
	"log/slog"
	"math"
	"time"

	"github.com/rhaptos/sessiondb/db"
	"github.com/rhaptos/sessiondb/sessioncache/sid"
)

// Session is a session with a token. All times are by the database's clock, in UTC.
type Session[T any] struct {
	Handle sid.Handle // which session; it opens nothing and may be shown
	User   T
	UserID string // the user_id of its User, empty when there is none
	State  State

	CreatedAt       time.Time
	AuthenticatedAt time.Time // when the user last proved who they are; zero for an anonymous session
	ExpiresAt       time.Time // use extends it where there is an idle timeout, until Deadline
	Deadline        time.Time

	TTL time.Duration // until ExpiresAt when the database answered; negative when it has passed
}

// State is what a session, or the token that was shown for it, is good for.
type State string

// The states of a session.
const (
	StateLive       State = "live"
	StateExpired    State = "expired"
	StateSuperseded State = "superseded" // the token is one that Renew, or a login ([Cache.Retire]), has replaced
	StateUnreadable State = "unreadable" // the session is live, and T does not decode its user, which is zero
)

// Anonymous tells whether the session is one of a visitor who has not proved who
// they are.
func (s Session[T]) Anonymous() bool {
	return s.AuthenticatedAt.IsZero()
}

// SinceAuthenticated returns how long ago the user had last proved who they are,
// when the database answered. Of an anonymous session that is the longest Duration.
func (s Session[T]) SinceAuthenticated() time.Duration {
	if s.Anonymous() {
		return math.MaxInt64
	}
	return s.ExpiresAt.Add(-s.TTL).Sub(s.AuthenticatedAt)
}

// describe says all of a session but its user.
func describe[T any](r *row, state State) Session[T] {
	return Session[T]{
		Handle:          sid.Handle(r.id),
		UserID:          r.userID,
		State:           state,
		CreatedAt:       instant(r.created),
		AuthenticatedAt: instant(r.authenticated),
		ExpiresAt:       instant(r.expires),
		Deadline:        instant(r.deadline),
		TTL:             duration(r.ttl()),
	}
}

// instant reads microseconds since 1970; zero is no time.
func instant(micros int64) time.Time {
	if micros == 0 {
		return time.Time{}
	}
	return time.UnixMicro(micros).UTC()
}

// duration reads microseconds. What is too long for a Duration, 292 years, becomes
// the longest.
func duration(micros int64) time.Duration {
	const most = int64(math.MaxInt64 / time.Microsecond)
	return time.Duration(min(max(micros, -most), most)) * time.Microsecond
}

// Session returns the session that a handle names, an expired one, too, until Purge
// has removed it: State tells. It extends no session. ok is false, and err nil, when
// it is absent. With [ErrUnreadableSession] all but its User is set.
func (c *Cache[T]) Session(ctx context.Context, handle sid.Handle) (session Session[T], ok bool, err error) {
	const op = "look up the session"
	r, err := c.lookUp(ctx, sid.ID(handle))
	if err != nil {
		return session, false, interpret(op, err)
	}
	if r == nil || r.isPlain() { // a plain session has no handle: its id is its key
		return session, false, nil
	}
	session = describe[T](r, StateLive)
	if r.ttl() < 0 {
		session.State = StateExpired
	}
	if session.User, err = c.decode(op, r.userDict); err != nil {
		session.State = StateUnreadable
		return session, false, err
	}
	return session, true, nil
}

// DeleteSession ends the session that a handle names, and tells whether it was
// there. Once it has returned nil, no server finds the session any more.
func (c *Cache[T]) DeleteSession(ctx context.Context, handle sid.Handle) (was bool, err error) {
	rows, err := retryWrite(ctx, c, func(ctx context.Context, queries *db.Queries) (int64, error) {
		return queries.DeleteSessionByHandle(ctx, db.DeleteSessionByHandleParams{
			Handle: sid.ID(handle), Audience: c.config.audience,
		})
	})
	err = interpret("delete the session", err)
	c.shared.metrics.call(&c.shared.metrics.deletes, true, err)
	if err != nil {
		return false, err
	}
	logSession(ctx, c.config.logger, slog.LevelDebug, "session deleted", handle)
	return rows > 0, c.propagate(ctx, nil)
}
