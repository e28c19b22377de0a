package sessionhttp

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/rhaptos/sessiondb/sessioncache"
	"github.com/rhaptos/sessiondb/sid"
)

const (
	// watchInterval is the interval between two checks of the sessions of waiting
	// requests.
	watchInterval = 2 * time.Second

	// watchOutageLimit is how long waiting requests go on while the database does not
	// answer.
	watchOutageLimit = 30 * time.Second

	// watchBatch is the largest number of sessions that one statement checks.
	watchBatch = 1000
)

// Context returns a context derived from the request's. It also ends when the session
// ends, by a logout or a timeout, and when its token is renewed. It is for WebSockets,
// server-sent events and everything else that lasts longer than one page.
// [context.Cause] then returns an error that matches [ErrNoSession]. If no user has
// logged in, or the first lookup fails, the context has already ended.
//
// A logout or a renewal on this server ends the context at once. A logout or a renewal
// on another server ends it within sessioncache.NearCacheStaleness if the cache has a
// working near cache (sessioncache.WithNearCache), and otherwise within two seconds. A
// timeout ends it within two seconds. All waiting requests of this process share the
// statements that check this.
//
// Waiting does not count as use: it does not restart the idle timeout. If the database
// does not answer for half a minute, the context ends, with sessioncache.ErrUnavailable
// as its cause.
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
		m.watcher.add(ctx, watched) // before the lookup, to miss no end in between
	}
	if _, err := loggedIn(m.lookUp(r.Context(), m.cache, s)); err != nil {
		cancel(failed(op, err))
	}
	return ctx
}

// watch is a request that waits for the end of its session.
type watch struct {
	token  sid.Token
	cancel context.CancelCauseFunc
}

// watcher checks the sessions of all waiting requests. It has one goroutine while
// requests wait, and none otherwise. If a near cache reads the change feed, each waiting
// request has one more goroutine, which starts a check when the feed reports a change of
// its session.
type watcher struct {
	alive       func(ctx context.Context, tokens ...sid.Token) ([]bool, error)
	changed     func(handle sid.Handle) (changed <-chan struct{}, stop func(), fed bool)
	interval    time.Duration
	outageLimit time.Duration
	timeout     time.Duration // of a statement

	mu      sync.Mutex
	watches map[*watch]bool // true: to be checked now
	wakeUp  chan struct{}   // nil while no request waits
}

// add watches a session until ctx ends. Every end of the session after add has returned
// is noticed.
func (w *watcher) add(ctx context.Context, watched *watch) {
	changed, stop, _ := w.changed(watched.token.Handle())
	if changed != nil {
		defer func() { go w.follow(ctx, watched, changed, stop) }()
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.watches == nil {
		w.watches = map[*watch]bool{}
	}
	w.watches[watched] = false
	context.AfterFunc(ctx, func() { w.remove(watched) })
	if w.wakeUp == nil {
		w.wakeUp = make(chan struct{}, 1)
		go w.run(w.wakeUp)
	}
}

// follow starts a check of a session each time the change feed reports a change of it,
// until ctx ends. A feed that stops working reports that once, and again when it works.
// In between, only the checks at watchInterval are left.
func (w *watcher) follow(ctx context.Context, watched *watch, changed <-chan struct{}, stop func()) {
	for {
		select {
		case <-changed:
			stop()
			changed, stop, _ = w.changed(watched.token.Handle()) // before the check, to miss no change in between
			w.wake(watched)
		case <-ctx.Done():
			stop()
			return
		}
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

// wake starts a check of one session now.
func (w *watcher) wake(watched *watch) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if _, waits := w.watches[watched]; waits {
		w.watches[watched] = true
		w.wakeUpNow()
	}
}

// wakeAll starts a check of all sessions now.
func (w *watcher) wakeAll() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for watched := range w.watches {
		w.watches[watched] = true
	}
	if w.wakeUp != nil {
		w.wakeUpNow()
	}
}

// wakeUpNow ends the pause of run. The caller holds mu, and wakeUp is not nil.
func (w *watcher) wakeUpNow() {
	select {
	case w.wakeUp <- struct{}{}:
	default:
	}
}

// take returns the sessions to check: all, or only those that are to be checked now.
func (w *watcher) take(all bool) (watches []*watch) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for watched, now := range w.watches {
		if all || now {
			watches = append(watches, watched)
			w.watches[watched] = false
		}
	}
	return watches
}

// run checks sessions until wakeUp is closed.
func (w *watcher) run(wakeUp chan struct{}) {
	tick := time.NewTicker(w.interval)
	defer tick.Stop()
	answered := time.Now()
	for {
		all := false
		select {
		case _, ok := <-wakeUp:
			if !ok {
				return
			}
		case <-tick.C:
			all = true
		}
		for batch := range slices.Chunk(w.take(all), watchBatch) {
			if err := w.check(batch); err == nil {
				answered = time.Now()
			} else if time.Since(answered) > w.outageLimit {
				for _, watched := range batch {
					watched.cancel(failed("context", fmt.Errorf("%w: %w", sessioncache.ErrUnavailable, err)))
				}
			}
		}
	}
}

// check ends the contexts of sessions that have ended.
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
