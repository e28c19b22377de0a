package sessionhttp

import (
	"context"
	"fmt"
	"log/slog"

	"github.com/rhaptos/sessiondb/sessioncache"
	"github.com/rhaptos/sessiondb/sessioncache/sid"
)

// Manager logs users in and out of a service, and tells its handlers who is
// there. Its methods may be called from any number of goroutines at once.
//
// Those that take a ResponseWriter may set cookies: call them before the body is
// written.
type Manager[T any] struct {
	cache   *sessioncache.Cache[T]
	config  config
	profile func(T) any // nil without [WithProfile]
	guesses guesses
}

// New returns a Manager of the sessions in a cache. It panics if the cache is nil
// or the options do not fit: both are mistakes in the program.
func New[T any](cache *sessioncache.Cache[T], options ...Option) *Manager[T] {
	if cache == nil {
		panic("sessionhttp: New: the cache is nil")
	}
	m := &Manager[T]{cache: cache, config: newConfig(options)}
	if m.config.profile != nil {
		profile, ok := m.config.profile.(func(T) any)
		if !ok {
			panic(fmt.Sprintf("sessionhttp: New: the profile is a %T, the user another type", m.config.profile))
		}
		m.profile = profile
	}
	return m
}

// log reports an event of one session. sid.ID logs as its fingerprint.
func (m *Manager[T]) log(ctx context.Context, event string, session sid.ID, more ...slog.Attr) {
	if m.config.logger.Enabled(ctx, slog.LevelInfo) {
		m.config.logger.LogAttrs(ctx, slog.LevelInfo, event, append(more, slog.Any("session", session))...)
	}
}
