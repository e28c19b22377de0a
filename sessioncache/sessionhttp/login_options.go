package sessionhttp

import (
	"fmt"
	"time"

	"github.com/rhaptos/sessiondb/sessioncache"
)

// LoginOption changes one login.
type LoginOption func(*loginOptions)

type loginOptions struct {
	remembered bool
	lifetime   time.Duration // 0: the cache's lifetime
	limited    bool          // MaxSessions may end other sessions of the user
	session    []sessioncache.SessionOption
	carry      any // a func(T, *T) error
}

func newLoginOptions(options []LoginOption) loginOptions {
	var o loginOptions
	for _, option := range options {
		option(&o)
	}
	return o
}

// Carry takes a visitor's data over into the login. carry is called with the data that
// [Manager.Begin] has stored, and with the user that will be stored, which it may
// change. It may be called several times (see [sessioncache.Carry]): read the request's
// body before. The data includes that of every Begin that returned before the login, on any
// server. Without a visitor, or with several session cookies, carry is not called. It must not
// change the user_id. If carry returns an error, Login
// returns it unchanged and nobody is logged in. A nil function panics. Login panics if
// the function is not for the Manager's type.
//
// Default: a visitor's data ends with the visitor's session.
func Carry[T any](carry func(visitor T, user *T) error) LoginOption {
	if carry == nil {
		panic("sessionhttp: Carry: the function is nil")
	}
	return func(o *loginOptions) { o.carry = carry }
}

// MaxSessions ends the user's oldest sessions so that at most n are live, this login
// included. The user needs a user_id. An n below one panics.
//
// Default: no limit.
func MaxSessions(n int) LoginOption {
	option := sessioncache.MaxSessions(n)
	return func(o *loginOptions) { o.limited, o.session = true, append(o.session, option) }
}

// Remember is "keep me logged in": it gives this login its own lifetime and idle timeout,
// and a persistent cookie that lasts as long, or 400 days, the most that browsers allow. An
// idle of zero means no idle timeout. It panics if the lifetime is below a second, or if the
// idle timeout is below a microsecond and not zero.
//
// Default: the lifetime and the idle timeout of the cache.
func Remember(lifetime, idle time.Duration) LoginOption {
	if lifetime < time.Second {
		panic(fmt.Sprintf("sessionhttp: Remember: %s is too short", lifetime))
	}
	lifetimeOption, idleOption := sessioncache.Lifetime(lifetime), sessioncache.IdleTimeout(idle)
	return func(o *loginOptions) {
		o.remembered, o.lifetime = true, lifetime
		o.session = append(o.session, lifetimeOption, idleOption, sessioncache.Remembered())
	}
}
