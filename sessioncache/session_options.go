package sessioncache

import (
	"fmt"
	"time"
)

// SessionOption is a choice about one session, made when it is issued.
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

// Lifetime sets how long this session lives, however much it is used. A d below a
// microsecond panics.
//
// Default: what [WithLifetime] says.
func Lifetime(d time.Duration) SessionOption {
	checkTimeout("Lifetime", d)
	return func(s *newSession) { s.timeouts.lifetime = d }
}

// IdleTimeout ends this session when it has not been used for d. Zero is no
// timeout; any other d below a microsecond panics.
//
// Default: what [WithIdleTimeout] says.
func IdleTimeout(d time.Duration) SessionOption {
	if d != 0 {
		checkTimeout("IdleTimeout", d)
	}
	return func(s *newSession) { s.timeouts.idle = d }
}

// MaxSessions ends the user's oldest sessions so that n are live at most, the new
// one among them, even if many are issued at once. Plain and anonymous sessions do
// not count, and an anonymous one ends none. A user without a user_id is [ErrInvalidUser] then, and a caller's
// transaction above isolation level read committed [ErrIsolation]. An n below one
// panics.
//
// Default: no limit.
func MaxSessions(n int) SessionOption {
	if n < 1 {
		panic(fmt.Sprintf("sessioncache: MaxSessions: %d", n))
	}
	return func(s *newSession) { s.limit = n }
}

// Anonymous marks a session whose user has not proved who they are: a visitor's. A
// user_id in its user is a claim only: the session is not listed among the user's,
// and does not count for [MaxSessions]. DeleteUserSessions ends it all the same.
func Anonymous() SessionOption {
	return func(s *newSession) { s.anonymous = true }
}

// RenewOption is a choice about one renewal.
type RenewOption func(*renewal)

type renewal struct {
	reauthenticated bool
}

// Reauthenticated notes that the user has just proved again who they are, and
// restarts the session's lifetime and idle timeout. An anonymous session cannot be
// renewed like that: a login is a new session.
func Reauthenticated() RenewOption {
	return func(r *renewal) { r.reauthenticated = true }
}
