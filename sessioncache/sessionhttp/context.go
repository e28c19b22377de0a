package sessionhttp

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/rhaptos/sessiondb/sessioncache"
	"github.com/rhaptos/sessiondb/sessioncache/sid"
)

const (
	// watchInterval is how often the sessions of waiting requests are asked for.
	watchInterval = 2 * time.Second

	// watchPatience is how long waiting requests go on without an answer.
	watchPatience = 30 * time.Second

	// watchBatch is how many sessions a statement asks for at most.
	watchBatch = 1000
)

// Context returns the request's context, which also ends when its session does, by a
// logout or a timeout, and when its token is renewed: for WebSockets, server-sent
// events and everything else that outlasts one page. [context.Cause] then is a reason
// under [ErrNoSession]. Without a session of a user who has logged in it has ended
// already.
//
// On this server it ends at once, on the others within two seconds: one statement asks
// for the sessions of all waiting requests. Waiting does not count as use: it starts no
// idle timeout anew. While the database does not answer the context stays, for half a
// minute; then it ends with sessioncache.ErrUnavailable for a cause.
func (m *Manager[T]) Context(r *http.Request) context.Context {
	const op = "context"
	ctx, cancel := context.WithCancelCause(r.Context())
	s, err := m.lock(r.Context())
	if err != nil {
		cancel(failed(op, err))
		return ctx
	}
	defer s.unlock()
	watched := &watch{s.token, cancel}
	if s.absent == nil && !s.fake {
		m.watcher.add(ctx, watched) // before the lookup, or an end in between would go unnoticed
	}
	if _, err := loggedIn(m.findAgain(r.Context(), m.cache, s)); err != nil {
		cancel(failed(op, err))
	}
	return ctx
}

// watch is a request that waits for the end of its session.
type watch struct {
	token  sid.Token
	cancel context.CancelCauseFunc
}

// watcher asks for the sessions of all waiting requests. It has one goroutine while
// there are any, and none otherwise.
type watcher struct {
	alive    func(ctx context.Context, tokens ...sid.Token) ([]bool, error)
	every    time.Duration
	patience time.Duration
	timeout  time.Duration // of a statement

	mu      sync.Mutex
	watches map[*watch]struct{}
	wakeUp  chan struct{} // nil while nobody waits
}

func (w *watcher) add(ctx context.Context, watched *watch) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.watches == nil {
		w.watches = map[*watch]struct{}{}
	}
	w.watches[watched] = struct{}{}
	context.AfterFunc(ctx, func() { w.remove(watched) })
	if w.wakeUp == nil {
		w.wakeUp = make(chan struct{}, 1)
		go w.run(w.wakeUp)
	}
}

func (w *watcher) remove(watched *watch) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.watches, watched)
	if len(w.watches) == 0 && w.wakeUp != nil {
		close(w.wakeUp)
		w.wakeUp = nil
	}
}

// wake has the sessions asked for now.
func (w *watcher) wake() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.wakeUp != nil {
		select {
		case w.wakeUp <- struct{}{}:
		default:
		}
	}
}

// run asks until wakeUp is closed.
func (w *watcher) run(wakeUp chan struct{}) {
	tick := time.NewTicker(w.every)
	defer tick.Stop()
	answered := time.Now()
	for {
		select {
		case _, ok := <-wakeUp:
			if !ok {
				return
			}
		case <-tick.C:
		}
		w.mu.Lock()
		waiting := slices.Collect(maps.Keys(w.watches))
		w.mu.Unlock()
		for batch := range slices.Chunk(waiting, watchBatch) {
			if err := w.check(batch); err == nil {
				answered = time.Now()
			} else if time.Since(answered) > w.patience {
				for _, watched := range batch {
					watched.cancel(failed("context", fmt.Errorf("%w: %w", sessioncache.ErrUnavailable, err)))
				}
			}
		}
	}
}

// check ends the contexts whose sessions have ended.
func (w *watcher) check(batch []*watch) error {
	ctx, cancel := context.WithTimeout(context.Background(), w.timeout)
	defer cancel()
	tokens := make([]sid.Token, len(batch))
	for i, watched := range batch {
		tokens[i] = watched.token
	}
	alive, err := w.alive(ctx, tokens...)
	if err != nil {
		return err
	}
	for i, watched := range batch {
		if !alive[i] {
			watched.cancel(failed("context", ErrUnknownSession))
		}
	}
	return nil
}
