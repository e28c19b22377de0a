package sessionhttp

import (
	"context"
	"sync"
	"time"
)

// limit is a context with a time limit that can be paused, because one call of a Cache uses
// the database before and after it calls the application's function. A context of package
// context cannot do that.
type limit struct {
	context.Context // the caller's
	done            chan struct{}
	leave           func() bool // stops watching the caller's context

	mu    sync.Mutex
	timer *time.Timer // nil while the limit is paused
	err   error
}

func newLimit(ctx context.Context, d time.Duration) *limit {
	l := &limit{Context: ctx, done: make(chan struct{})}
	l.leave = context.AfterFunc(ctx, func() { l.end(ctx.Err()) })
	if err := ctx.Err(); err != nil {
		l.end(err) // now, and not when AfterFunc gets to run
	}
	l.resume(d)
	return l
}

// resume starts the limit again.
func (l *limit) resume(d time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.err == nil {
		l.timer = time.AfterFunc(d, func() { l.end(context.DeadlineExceeded) })
	}
}

// pause lets time pass until resume.
func (l *limit) pause() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.timer != nil {
		l.timer.Stop()
		l.timer = nil
	}
}

// stop frees what the limit holds.
func (l *limit) stop() {
	l.leave()
	l.pause()
	l.end(context.Canceled)
}

func (l *limit) end(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.err == nil {
		l.err = err
		close(l.done)
	}
}

func (l *limit) Done() <-chan struct{} {
	return l.done
}

func (l *limit) Err() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.err
}
