package sessioncache

import (
	"fmt"
	"strings"
	"time"

	"github.com/rhaptos/sessiondb/sid"
)

// SessionOption changes one session that Issue stores.
type SessionOption func(*newSession)

type newSession struct {
	timeouts   timeouts
	limit      int // 0: none
	anonymous  bool
	remembered bool
	device     string
	replaced   []sid.Token
	carry      any // a func(T, *T) error, or nil
}

func (s *store) newSession(options []SessionOption) newSession {
	session := newSession{timeouts: s.config.timeouts}
	for _, option := range options {
		option(&session)
	}
	return session
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
// anonymous sessions do not count, and an anonymous session ends none. In a caller's
// transaction, call Issue with this option before calls that change sessions.
//
// Issue then returns [ErrInvalidUser] for a user without a user_id, and [ErrIsolation]
// in a caller's transaction above isolation level read committed. MaxSessions panics if
// n is below one.
//
// Default: no limit.
func MaxSessions(n int) SessionOption {
	if n < 1 {
		panic(fmt.Sprintf("sessioncache: MaxSessions: %d is not a valid number of sessions", n))
	}
	return func(s *newSession) { s.limit = n }
}

// Anonymous marks the session of a visitor who has not logged in. A user_id in its user
// proves nothing: the session is not one of that user's.
func Anonymous() SessionOption {
	return func(s *newSession) { s.anonymous = true }
}

// Remembered records that the user asked to be remembered after the browser is closed
// ([Session].Remembered).
func Remembered() SessionOption {
	return func(s *newSession) { s.remembered = true }
}

// Device names the device on which the user logs in ([Session].Device), for example by its
// User-Agent. What cannot be stored is replaced, and the name is cut to 200 characters.
//
// Default: no name.
func Device(name string) SessionOption {
	name = strings.ReplaceAll(strings.ToValidUTF8(name, "\uFFFD"), "\x00", "\uFFFD")
	if characters := []rune(name); len(characters) > longestDevice {
		name = string(characters[:longestDevice])
	}
	return func(s *newSession) { s.device = name }
}

// longestDevice is how many characters the column device holds.
const longestDevice = 200

// Replacing ends the sessions that the new one replaces, in the same transaction, as
// [Cache.Retire] does. Issue then returns an error if they cannot be ended, and stores
// nothing.
func Replacing(tokens ...sid.Token) SessionOption {
	return func(s *newSession) { s.replaced = append(s.replaced, tokens...) }
}

// Carry takes over data of the visitor whose session the first token of [Replacing] opens.
// The function is called with the visitor's data and with the new session's user, which it
// changes. It may be called several times, if another request changes the visitor's data
// meanwhile; both values are then decoded anew from JSON. No connection, transaction or lock
// of the Cache is held while it runs. Its error is returned as it is, and nothing has
// changed. If it changes the user_id, Issue returns [ErrUserChanged]: what a visitor claims
// proves nothing.
//
// If the token opens no session, or a user's, the function is not called. If the visitor's
// token has just been superseded, Issue returns [ErrSuperseded]. Issue panics if the
// function is for another type than the Cache's. Carry panics if it is nil.
func Carry[T any](carry func(visitor T, user *T) error) SessionOption {
	if carry == nil {
		panic("sessioncache: Carry: the function is nil")
	}
	return func(s *newSession) { s.carry = carry }
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
