package sessionhttp

import (
	"context"
	"time"
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
