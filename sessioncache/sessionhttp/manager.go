package sessionhttp

import (
	"fmt"

	"github.com/rhaptos/sessiondb/sessioncache"
)

// Manager logs users in and out of a service, and tells its handlers who is
// there. Its methods may be called from any number of goroutines at once.
//
// Those that take a ResponseWriter may set cookies: call them before the body is
// written. Those that take a request or its context need [Manager.Middleware].
//
// Those that change a session return sessioncache.ErrNotAwaited when the request's
// context ends while they wait for near caches (sessioncache.WithNearCache). All of it
// has happened then, cookies and events included; other servers may see what was before
// for sessioncache.NearCacheStaleness at most.
type Manager[T any] struct {
	cache   *sessioncache.Cache[T]
	config  config
	profile func(T) any // nil without [WithProfile]
	watcher watcher
}

// New returns a Manager of the sessions in a cache. It panics if the cache is nil
// or the options do not fit: both are mistakes in the program.
//
// With an audience (sessioncache.WithAudience), all Managers of the audience, and the
// cache itself, take each other's tokens. Without one, the Manager's tokens are bound to
// the full name of its cookie: two Managers on one cache do not take each other's, and a
// token of the cache's Issue does not open a session for a Manager.
func New[T any](cache *sessioncache.Cache[T], options ...Option) *Manager[T] {
	if cache == nil {
		panic("sessionhttp: New: the cache is nil")
	}
	m := &Manager[T]{config: newConfig(options)}
	if cache.Audience() == "" {
		cache = cache.WithTokenScope(m.config.sessionCookie)
	}
	m.cache = cache
	if m.config.profile != nil {
		profile, ok := m.config.profile.(func(T) any)
		if !ok {
			panic(fmt.Sprintf("sessionhttp: New: the profile is a %T, the user another type", m.config.profile))
		}
		m.profile = profile
	}
	m.watcher = watcher{alive: cache.Alive, changed: cache.Changed, every: watchInterval, patience: watchPatience, timeout: m.config.lookupTimeout}
	return m
}
