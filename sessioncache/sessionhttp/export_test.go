package sessionhttp

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/rhaptos/sessiondb/sessioncache/sid"
)

// SetWatch sets how often the sessions of waiting requests are asked for, and how long
// they go on without an answer. It is called before anybody waits.
func (m *Manager[T]) SetWatch(every, patience time.Duration) {
	m.watcher.every, m.watcher.patience = every, patience
}

// Waiting is how many contexts of [Manager.Context] are watched.
func (m *Manager[T]) Waiting() int {
	m.watcher.mu.Lock()
	defer m.watcher.mu.Unlock()
	return len(m.watcher.watches)
}

// Age makes what a request knows of its session as much older: a test of a long request
// needs no waiting.
func (m *Manager[T]) Age(ctx context.Context, d time.Duration) {
	s, err := m.lock(ctx)
	if err != nil {
		panic(err)
	}
	defer s.unlock()
	s.at = s.at.Add(-d)
}

// CountAsked counts the sessions that are asked for because requests wait for their end.
// It is called before anybody waits.
func (m *Manager[T]) CountAsked(n *atomic.Int64) {
	alive := m.watcher.alive
	m.watcher.alive = func(ctx context.Context, tokens ...sid.Token) ([]bool, error) {
		n.Add(int64(len(tokens)))
		return alive(ctx, tokens...)
	}
}
