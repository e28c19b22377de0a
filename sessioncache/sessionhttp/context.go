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
	watchInterval = time.Second

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
// A logout or a renewal on this server ends the context at once, one on another server and
// a timeout within about a second: every second, one statement checks the sessions of up to
// a thousand waiting requests of this process. It reads no users. It has no values of a
// request's context: Context is not for pools that need them
// ([sessioncache.WithoutBatching]).
//
// Waiting does not count as use: it does not restart the idle timeout. If the database
// does not answer for half a minute, the context ends, with sessioncache.ErrUnavailable
// as its cause.
func (m *Manager[T]) Context(r *http.Request) context.Context {
	const op = "context"
	ctx, cancel := context.WithCancelCause(r.Context())
	end := func(err error) { cancel(failed(op, err)) }
	s, err := m.lock(r.Context())
	if err != nil {
		end(err)
		return ctx
	}
	defer s.unlock()
	added := false
	if s.absent == nil && !s.fake { // before the lookup, to miss no end in between
		added = m.watch(s)
		watched := s.watched
		context.AfterFunc(watched.ctx, func() { cancel(context.Cause(watched.ctx)) })
	}
	session, err := loggedIn(m.lookUp(r.Context(), m.cache, s))
	switch {
	case err != nil:
		end(err)
		if added {
			s.watched.cancel(err)
		}
	case s.watched != nil:
		m.watcher.setUser(s.watched, session.UserID)
	}
	return ctx
}

// watch has the request's session and token watched, which all calls of Context share, and
// reports whether they were not yet.
func (m *Manager[T]) watch(s *requestSession[T]) (added bool) {
	if s.watched != nil && s.watched.token.Reveal() == s.token.Reveal() && s.watched.ctx.Err() == nil {
		return false
	}
	s.watched = m.watcher.add(s.request.Context(), s.token)
	return true
}

// watch is a request that waits for the end of its session.
type watch struct {
	token  sid.Token
	ctx    context.Context // ends with the session, and with the request
	cancel context.CancelCauseFunc

	// watcher.mu guards the rest.
	userID string // empty until it is known
	now    bool   // to be checked now
}

// watcher checks the sessions of all waiting requests. It has one goroutine while
// requests wait, and none otherwise.
type watcher struct {
	alive       func(ctx context.Context, tokens ...sid.Token) ([]bool, error)
	interval    time.Duration
	outageLimit time.Duration
	timeout     time.Duration // of a statement

	mu      sync.Mutex
	watches map[sid.Handle]map[*watch]struct{}
	wakeUp  chan struct{} // nil while no request waits
}

// add watches a session until ctx ends. Every end of the session after add has returned
// is noticed.
func (w *watcher) add(ctx context.Context, token sid.Token) *watch {
	watched := &watch{token: token}
	watched.ctx, watched.cancel = context.WithCancelCause(ctx)
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.watches == nil {
		w.watches = map[sid.Handle]map[*watch]struct{}{}
	}
	if w.watches[token.Handle()] == nil {
		w.watches[token.Handle()] = map[*watch]struct{}{}
	}
	w.watches[token.Handle()][watched] = struct{}{}
	context.AfterFunc(watched.ctx, func() { w.remove(watched) })
	if w.wakeUp == nil {
		w.wakeUp = make(chan struct{}, 1)
		go w.run(w.wakeUp)
	}
	return watched
}

func (w *watcher) remove(watched *watch) {
	w.mu.Lock()
	defer w.mu.Unlock()
	handle := watched.token.Handle()
	delete(w.watches[handle], watched)
	if len(w.watches[handle]) == 0 {
		delete(w.watches, handle)
	}
	if len(w.watches) == 0 && w.wakeUp != nil {
		close(w.wakeUp)
		w.wakeUp = nil
	}
}

func (w *watcher) setUser(watched *watch, userID string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	watched.userID = userID
}

// wakeSessions starts a check of these sessions now.
func (w *watcher) wakeSessions(handles ...sid.Handle) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, handle := range handles {
		for watched := range w.watches[handle] {
			w.check(watched)
		}
	}
}

// wakeUser starts a check of all sessions of a user now, and of those that are still being
// looked up.
func (w *watcher) wakeUser(userID string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, watches := range w.watches {
		for watched := range watches {
			if watched.userID == userID || watched.userID == "" {
				w.check(watched)
			}
		}
	}
}

// check has run check a session now. The caller holds mu.
func (w *watcher) check(watched *watch) {
	watched.now = true
	select {
	case w.wakeUp <- struct{}{}:
	default:
	}
}

// take returns the sessions to check: all, or only those that are to be checked now.
func (w *watcher) take(all bool) (taken []*watch) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, watches := range w.watches {
		for watched := range watches {
			if all || watched.now {
				taken = append(taken, watched)
				watched.now = false
			}
		}
	}
	return taken
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
			if err := w.checkBatch(batch); err == nil {
				answered = time.Now()
			} else if time.Since(answered) > w.outageLimit {
				for _, watched := range batch {
					watched.cancel(failed("context", fmt.Errorf("%w: %w", sessioncache.ErrUnavailable, err)))
				}
			}
		}
	}
}

// checkBatch ends the contexts of sessions that have ended.
func (w *watcher) checkBatch(batch []*watch) error {
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
