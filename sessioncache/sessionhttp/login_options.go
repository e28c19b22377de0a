package sessionhttp

import (
	"fmt"
	"time"

	"github.com/rhaptos/sessiondb/sessioncache"
)

// LoginOption is a choice about one login.
type LoginOption func(*loginOptions)

type loginOptions struct {
	remembered bool
	lifetime   time.Duration // 0: the cache's
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

// Carry has a visitor's data taken over into the login: carry is called with what
// [Manager.Begin] has stored of the visitor, and may add to the user that is to be
// stored. Nothing that was acknowledged to the visitor before is missed. Without a
// visitor it is not called. Its error is returned by Login as it is, and nobody is
// logged in. A nil function panics, and so does Login if it is not for the Manager's
// type.
//
// Default: a visitor's data ends with the visitor's session.
func Carry[T any](carry func(visitor T, user *T) error) LoginOption {
	if carry == nil {
		panic("sessionhttp: Carry: the function is nil")
	}
	return func(o *loginOptions) { o.carry = carry }
}

// MaxSessions ends the user's oldest sessions so that n are live at most, this login
// among them. The user needs a user_id. An n below one panics.
//
// Default: no limit.
func MaxSessions(n int) LoginOption {
	option := sessioncache.MaxSessions(n)
	return func(o *loginOptions) { o.session = append(o.session, option) }
}

// Remember gives this login a lifetime and an idle timeout of its own, and a
// persistent cookie that lasts as long: "keep me logged in". An idle timeout of zero
// is none. A lifetime below a second panics, and so does an idle timeout below a
// microsecond.
//
// Default: those of the cache.
func Remember(lifetime, idle time.Duration) LoginOption {
	if lifetime < time.Second {
		panic(fmt.Sprintf("sessionhttp: Remember: %s is too short", lifetime))
	}
	lives, idles := sessioncache.Lifetime(lifetime), sessioncache.IdleTimeout(idle)
	return func(o *loginOptions) {
		o.remembered, o.lifetime = true, lifetime
		o.session = append(o.session, lives, idles)
	}
}
