package sessioncache

import (
	"fmt"
	"time"
)

// SessionOption changes one session that Issue stores.
type SessionOption func(*newSession)

type newSession struct {
	timeouts  timeouts
	limit     int // 0: none
	anonymous bool
}

func (c *Cache[T]) newSession(options []SessionOption) newSession {
	s := newSession{timeouts: c.config.timeouts}
	for _, option := range options {
		option(&s)
	}
	return s
}

// Lifetime sets how long this session lives at most. Use does not extend it. It panics
// if d is below a microsecond.
//
// Default: [WithLifetime].
func Lifetime(d time.Duration) SessionOption {
	checkTimeout("Lifetime", d)
	return func(s *newSession) { s.timeouts.lifetime = d }
}

// IdleTimeout ends this session when it has not been used for d. Zero means no idle
// timeout. It panics if any other d is below a microsecond.
//
// Default: [WithIdleTimeout].
func IdleTimeout(d time.Duration) SessionOption {
	if d != 0 {
		checkTimeout("IdleTimeout", d)
	}
	return func(s *newSession) { s.timeouts.idle = d }
}

// MaxSessions ends the user's oldest sessions so that at most n are live, the new one
// included. The limit holds even if many sessions are issued at once. Plain and
// anonymous sessions do not count, and an anonymous session ends none.
//
// Issue then returns [ErrInvalidUser] for a user without a user_id, and [ErrIsolation]
// in a caller's transaction above isolation level read committed. MaxSessions panics if
// n is below one.
//
// Default: no limit.
func MaxSessions(n int) SessionOption {
	if n < 1 {
		panic(fmt.Sprintf("sessioncache: MaxSessions: %d", n))
	}
	return func(s *newSession) { s.limit = n }
}

// Anonymous marks the session of a visitor who has not logged in. A user_id in its user
// proves nothing: the session is not listed among that user's sessions and does not
// count for [MaxSessions]. DeleteUserSessions does end it.
func Anonymous() SessionOption {
	return func(s *newSession) { s.anonymous = true }
}

// RenewOption changes one renewal.
type RenewOption func(*renewal)

type renewal struct {
	reauthenticated bool
}

// Reauthenticated records that the user has just authenticated again, and restarts the
// session's lifetime and idle timeout. For an anonymous session Renew then returns ok
// == false: a login is a new session.
func Reauthenticated() RenewOption {
	return func(r *renewal) { r.reauthenticated = true }
}
