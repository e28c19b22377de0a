package sessioncache

import (
	"context"
	"log/slog"
	"math"
	"time"

	"github.com/rhaptos/sessiondb/db"
	"github.com/rhaptos/sessiondb/sid"
)

// Session is a session with a token. All times are by the database's clock, in UTC.
type Session[T any] struct {
	Handle sid.Handle // names the session; it gives no access and may be shown
	User   T
	UserID string // the user_id of User; empty when it has none, and for an anonymous session
	State  State

	Device     string // as [Device] has named it; may be empty
	Remembered bool   // the user asked to be remembered ([Remembered])

	CreatedAt       time.Time
	AuthenticatedAt time.Time // the last login or re-authentication; zero for an anonymous session
	LastUsedAt      time.Time // with an idle timeout, at most a quarter of it ago; otherwise CreatedAt
	ExpiresAt       time.Time // with an idle timeout, use extends it up to Deadline
	Deadline        time.Time

	TTL time.Duration // time left until ExpiresAt when the database answered; negative after it
}

// State is the state of a session, or of the token that was shown for it.
type State string

// The states of a session.
const (
	StateLive       State = "live"
	StateExpired    State = "expired"
	StateSuperseded State = "superseded" // Renew or a login ([Cache.Retire]) has replaced the token
	StateUnreadable State = "unreadable" // the session is live, but T does not decode its user; User is zero
)

// Anonymous reports whether the session is a visitor's, who has not logged in.
func (s Session[T]) Anonymous() bool {
	return s.AuthenticatedAt.IsZero()
}

// SinceAuthenticated returns the time between the last login or re-authentication and
// the database's answer. For an anonymous session it is the longest Duration.
func (s Session[T]) SinceAuthenticated() time.Duration {
	if s.Anonymous() {
		return math.MaxInt64
	}
	return s.ExpiresAt.Add(-s.TTL).Sub(s.AuthenticatedAt)
}

// describe returns a session without its user.
func describe[T any](r *row, state State) Session[T] {
	return Session[T]{
		Handle:          sid.Handle(r.SessionID),
		UserID:          r.UserID,
		State:           state,
		Device:          r.Device,
		Remembered:      r.Remembered,
		CreatedAt:       instant(r.CreatedMicros),
		AuthenticatedAt: instant(r.AuthenticatedMicros),
		LastUsedAt:      instant(r.UsedMicros),
		ExpiresAt:       instant(r.ExpiresMicros),
		Deadline:        instant(r.DeadlineMicros),
		TTL:             duration(r.ttl()),
	}
}

// instant converts microseconds since 1970; zero is the zero time.
func instant(micros int64) time.Time {
	if micros == 0 {
		return time.Time{}
	}
	return time.UnixMicro(micros).UTC()
}

// duration converts microseconds. A value that does not fit a Duration, 292 years,
// becomes the longest.
func duration(micros int64) time.Duration {
	const most = int64(math.MaxInt64 / time.Microsecond)
	return time.Duration(min(max(micros, -most), most)) * time.Microsecond
}

// Session returns the session that a handle names. It returns an expired session, too,
// until Purge has removed it: see its State. It does not extend the session. ok is
// false, and err nil, when the session is absent. With [ErrUnreadableSession] every
// field except User is set.
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
	if session.User, err = c.decode(op, r.UserDict); err != nil {
		session.State = StateUnreadable
		return session, false, err
	}
	return session, true, nil
}

// DeleteSession ends the session that a handle names and reports whether there was one.
// Once it has returned nil, no server finds the session.
func (s *store) DeleteSession(ctx context.Context, handle sid.Handle) (was bool, err error) {
	rows, err := retryWrite(ctx, s, func(ctx context.Context, queries *db.Queries) (int64, error) {
		return queries.DeleteSessionByHandle(ctx, db.DeleteSessionByHandleParams{
			Handle: sid.ID(handle), Audience: s.config.audience,
		})
	})
	err = interpret("delete the session", err)
	s.shared.metrics.call(&s.shared.metrics.deletes, true, err)
	if err == nil {
		logSession(ctx, s.config, slog.LevelDebug, "session deleted", handle)
	}
	return rows > 0, s.await(ctx, err, sid.ID(handle))
}
