package sessionhttp

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rhaptos/sessiondb/sid"
)

// SetWatch sets the interval between two checks of the sessions of waiting requests, and
// how long they go on while the database does not answer. It is called before any request
// waits.
func (m *Manager[T]) SetWatch(every, patience time.Duration) {
	m.watcher.interval, m.watcher.outageLimit = every, patience
}

// Waiting returns how many contexts of [Manager.Context] are watched.
func (m *Manager[T]) Waiting() int {
	m.watcher.mu.Lock()
	defer m.watcher.mu.Unlock()
	n := 0
	for _, watches := range m.watcher.watches {
		n += len(watches)
	}
	return n
}

// Age makes the result of the request's last lookup older by d, so that a test of a long
// request need not wait.
func (m *Manager[T]) Age(ctx context.Context, d time.Duration) {
	s, err := m.lock(ctx)
	if err != nil {
		panic(err)
	}
	defer s.unlock()
	s.at = s.at.Add(-d)
}

// CountAsked counts the sessions that are checked because requests wait for their end. It
// is called before any request waits.
func (m *Manager[T]) CountAsked(n *atomic.Int64) {
	alive := m.watcher.alive
	m.watcher.alive = func(ctx context.Context, tokens ...sid.Token) ([]bool, error) {
		n.Add(int64(len(tokens)))
		return alive(ctx, tokens...)
	}
}

// WarnAsFirst has the Managers log the warning of plain HTTP once more, as if the process had
// just begun.
func WarnAsFirst[T any](managers ...*Manager[T]) {
	var once sync.Once
	for _, m := range managers {
		m.plainHTTPWarning = &once
	}
}

// Report reports an event.
func Report[T any](ctx context.Context, m *Manager[T], event Event) {
	m.report(ctx, event)
}
