package sessionhttp

import (
	"context"
	"fmt"
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
// Of a logout or a renewal on this server it learns at once. Of one on another server it
// learns within sessioncache.NearCacheStaleness where the cache has a near cache
// (sessioncache.WithNearCache) that works, and otherwise, as of a timeout, within two
// seconds: one statement asks for the sessions of all waiting requests. Waiting does not
// count as use: it starts no idle timeout anew. While the database does not answer the
// context stays, for half a minute; then it ends with sessioncache.ErrUnavailable for a
// cause.
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
// there are any, and none otherwise. Where a near cache reads the change feed, each
// request has one more, which has its session asked for when the feed tells of it.
type watcher struct {
	alive    func(ctx context.Context, tokens ...sid.Token) ([]bool, error)
	changed  func(handle sid.Handle) (changed <-chan struct{}, stop func(), fed bool)
	every    time.Duration
	patience time.Duration
	timeout  time.Duration // of a statement

	mu      sync.Mutex
	watches map[*watch]bool // true: to be asked for now
	wakeUp  chan struct{}   // nil while nobody waits
}

// add watches a session until ctx ends. Whatever ends it after add has returned is
// noticed.
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

// follow has a session asked for when the change feed tells of it, until ctx ends. A feed
// that does not work tells so once, and again when it works: in between, the interval
// has to do.
func (w *watcher) follow(ctx context.Context, watched *watch, changed <-chan struct{}, stop func()) {
	for {
		select {
		case <-changed:
			stop()
			changed, stop, _ = w.changed(watched.token.Handle()) // first, or a change in between would go unnoticed
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

// wake has one session asked for now.
func (w *watcher) wake(watched *watch) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if _, waits := w.watches[watched]; waits {
		w.watches[watched] = true
		w.wakeUpNow()
	}
}

// wakeAll has all sessions asked for now.
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

// wakeUpNow ends the pause of run. The caller holds mu, and somebody waits.
func (w *watcher) wakeUpNow() {
	select {
	case w.wakeUp <- struct{}{}:
	default:
	}
}

// take returns the sessions to ask for: all, or those that are to be asked for now.
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

// run asks until wakeUp is closed.
func (w *watcher) run(wakeUp chan struct{}) {
	tick := time.NewTicker(w.every)
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
