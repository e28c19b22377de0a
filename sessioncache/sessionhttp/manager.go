package sessionhttp

import (
	"fmt"
	"sync"
	"time"

	"github.com/rhaptos/sessiondb/sessioncache"
)

// defaultVisitorLifetime is long enough for a basket that is filled in the evening and
// ordered the next day.
const defaultVisitorLifetime = 24 * time.Hour

// Manager logs users in and out of a service, and tells its handlers which user has sent
// a request. Its methods are safe for concurrent use.
//
// Methods that take a ResponseWriter may set cookies: call them before you write the
// body. Methods that take a request or its context need [Manager.Middleware], except
// Error and IssueBearer.
//
// Each use of the database has a time limit ([WithTimeout]). The Manager's methods take a
// connection of the cache's pool. A handler that holds a connection, or has begun a
// transaction, must not wait for another one: with the pool's last connection it would wait
// for itself, until the time limit. Such a handler calls the methods of [Tx], or those of
// the cache's WithTx.
//
// Methods that change a session return sessioncache.ErrNotAwaited if the request's
// context ends while they wait for near caches (sessioncache.WithNearCache). The change
// has happened then, and its cookies are set and its events reported. Other servers may
// show the earlier state for at most sessioncache.NearCacheStaleness.
type Manager[T any] struct {
	cache   *sessioncache.Cache[T]
	config  config
	profile func(T) any // nil without [WithProfile]
	watcher watcher

	plainHTTPWarning *sync.Once
}

// New returns a Manager of the sessions in a cache. It panics if the cache is nil, or if
// the function of [WithProfile] is not for the type T.
//
// With an audience (sessioncache.WithAudience), all Managers with this audience, and
// the cache itself, accept the same tokens. Without one, a token is bound to the full name
// of the Manager's session cookie. Managers with different cookie names then do not
// accept each other's tokens, and a Manager does not accept a token that the cache's
// Issue returned.
func New[T any](cache *sessioncache.Cache[T], options ...Option) *Manager[T] {
	if cache == nil {
		panic("sessionhttp: New: the cache is nil")
	}
	m := &Manager[T]{config: newConfig(options), plainHTTPWarning: &plainHTTPWarning}
	if cache.Audience() == "" {
		cache = cache.WithTokenScope(m.config.sessionCookie)
	}
	m.cache = cache.WithTimeout(m.config.timeout)
	m.watcher = watcher{alive: cache.Alive, interval: watchInterval, outageLimit: watchOutageLimit, timeout: m.config.timeout}
	if m.config.visitors == 0 {
		m.config.visitors = min(defaultVisitorLifetime, cache.Lifetime())
	}
	if m.config.profile != nil {
		profile, ok := m.config.profile.(func(T) any)
		if !ok {
			panic(fmt.Sprintf("sessionhttp: New: the function of WithProfile is a %T, which is not for the Manager's user type", m.config.profile))
		}
		m.profile = profile
	}
	return m
}
