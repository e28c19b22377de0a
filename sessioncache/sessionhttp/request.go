package sessionhttp

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/rhaptos/sessiondb/sessioncache"
	"github.com/rhaptos/sessiondb/sessioncache/sessionhttp/internal/fake"
	"github.com/rhaptos/sessiondb/sessioncache/sid"
)

// freshFor is how long what a request knows of its session counts; then it asks
// again. All who ask in a short request share one lookup, and a long one sees a
// logout.
const freshFor = time.Second

// requestSession is what a request knows of its session.
type requestSession[T any] struct {
	response response
	request  *http.Request

	// locked is held by whoever uses the rest: a lock that a context can end the wait
	// for.
	locked chan struct{}

	read        bool // the credentials have been
	credentials credentials
	token       sid.Token // of the session, where absent is nil
	absent      error     // why there is no session; nil while there may be one

	// The session, once somebody has asked.
	known   bool
	at      time.Time
	session sessioncache.Session[T]
	err     error

	fake bool // of a test: it is in no database
}

func newRequestSession[T any]() *requestSession[T] {
	return &requestSession[T]{locked: make(chan struct{}, 1)}
}

// of returns the session of the request that a context belongs to.
func (m *Manager[T]) of(ctx context.Context) *requestSession[T] {
	s, _ := ctx.Value(m).(*requestSession[T])
	if s == nil {
		// A test may call a handler without the middleware.
		if login, ok := ctx.Value(fake.Key{Manager: m}).(*fake.Login); ok {
			login.Once.Do(func() {
				s := newRequestSession[T]()
				s.request = new(http.Request)
				m.pretend(s, login)
				login.Session = s
			})
			s, _ = login.Session.(*requestSession[T])
		}
	}
	return s
}

// pretend makes a test's login the session.
func (m *Manager[T]) pretend(s *requestSession[T], login *fake.Login) {
	now, lifetime := time.Now(), m.cache.Lifetime()
	user, _ := login.User.(T) // a T that is a nil interface is none
	s.fake, s.read, s.known = true, true, true
	s.session = sessioncache.Session[T]{
		Handle: login.Handle, User: user, UserID: userID(user), State: sessioncache.StateLive,
		CreatedAt: now, AuthenticatedAt: now, ExpiresAt: now.Add(lifetime), Deadline: now.Add(lifetime), TTL: lifetime,
	}
}

// lock returns the session of the request that a context belongs to, held by the
// caller until unlock.
func (m *Manager[T]) lock(ctx context.Context) (*requestSession[T], error) {
	s := m.of(ctx)
	if s == nil {
		return nil, ErrNoMiddleware
	}
	select {
	case s.locked <- struct{}{}: // whether the context has ended or not
	default:
		select {
		case s.locked <- struct{}{}:
		case <-ctx.Done():
			return nil, fmt.Errorf("%w: %w", sessioncache.ErrUnavailable, ctx.Err())
		}
	}
	if !s.read {
		s.read = true
		s.credentials = m.readCredentials(s.request)
		s.absent = s.credentials.absent
		if s.absent == nil {
			s.token = s.credentials.tokens[0]
		}
		if errors.Is(s.absent, ErrMalformedCookie) {
			m.reportRequest(ctx, s, Event{Kind: EventMalformed, Reason: s.absent})
		}
	}
	return s, nil
}

func (s *requestSession[T]) unlock() {
	<-s.locked
}

// set gives the request a session that is not known yet.
func (s *requestSession[T]) set(token sid.Token) {
	s.token, s.absent = token, nil
	s.credentials.tokens = []sid.Token{token}
	s.forgetAnswer()
}

// clear takes the session from the request, for a reason.
func (s *requestSession[T]) clear(reason error) {
	s.token, s.absent = sid.Token{}, reason
	s.credentials.tokens = nil
	s.known, s.session, s.err = false, sessioncache.Session[T]{}, nil
}

// forgetAnswer has whoever comes next ask again. A test's login has nobody to ask.
func (s *requestSession[T]) forgetAnswer() {
	if !s.fake {
		s.known, s.session, s.err = false, sessioncache.Session[T]{}, nil
	}
}

// find returns the live session of the request, a visitor's, too. When there is none
// the error says why. cache is the Manager's, or the one of a transaction, which has
// the connection that a lookup would have to wait for.
func (m *Manager[T]) find(ctx context.Context, cache *sessioncache.Cache[T], s *requestSession[T]) (sessioncache.Session[T], error) {
	s.response.read.Store(true)
	if s.absent != nil {
		return sessioncache.Session[T]{}, s.absent
	}
	if s.fake || s.known && time.Since(s.at) < freshFor {
		return s.session, s.err
	}
	return m.findAgain(ctx, cache, s)
}

// findAgain asks again, whatever the request knows.
func (m *Manager[T]) findAgain(ctx context.Context, cache *sessioncache.Cache[T], s *requestSession[T]) (sessioncache.Session[T], error) {
	s.response.read.Store(true)
	if s.absent != nil || s.fake {
		return s.session, s.absent
	}
	timed, cancel := context.WithTimeout(ctx, m.config.lookupTimeout)
	defer cancel()
	at := time.Now() // not the answer's time: the session may have ended while it was on its way
	session, ok, err := cache.Authenticate(timed, s.token)
	if errors.Is(err, sessioncache.ErrUnavailable) {
		at = time.Now() // or all who wait for this answer would wait for one of their own
	}
	if err != nil || !ok {
		session, err = sessioncache.Session[T]{}, m.refuse(ctx, s, session, err)
	}
	if ctx.Err() == nil { // or the end of one caller's context were the next one's answer
		s.session, s.err, s.known, s.at = session, err, true, at
	}
	return session, err
}

// refuse reports why a token was not good, and returns that reason.
func (m *Manager[T]) refuse(ctx context.Context, s *requestSession[T], session sessioncache.Session[T], err error) (reason error) {
	kind := EventUnknown
	switch {
	case errors.Is(err, sessioncache.ErrSuperseded):
		kind, reason = EventSuperseded, err
	case errors.Is(err, sessioncache.ErrUnreadableSession):
		kind, reason = EventUnreadable, fmt.Errorf("%w: %w", ErrUnreadableSession, err)
	case err != nil:
		return err
	case session.State == sessioncache.StateExpired:
		kind, reason = EventExpired, ErrExpiredSession
	case session.State == sessioncache.StateSuperseded:
		kind, reason = EventSuperseded, ErrUnknownSession
	default:
		reason = ErrUnknownSession
	}
	m.reportRequest(ctx, s, Event{Kind: kind, Handle: session.Handle, UserID: session.UserID, Reason: reason})
	return reason
}

// findUser returns the session of the request if its user has logged in.
func (m *Manager[T]) findUser(ctx context.Context, cache *sessioncache.Cache[T], s *requestSession[T]) (sessioncache.Session[T], error) {
	return loggedIn(m.find(ctx, cache, s))
}

// findOwner returns the session as it is now, for calls about all sessions of its
// user.
func (m *Manager[T]) findOwner(ctx context.Context, cache *sessioncache.Cache[T], s *requestSession[T]) (sessioncache.Session[T], error) {
	session, err := loggedIn(m.findAgain(ctx, cache, s))
	if err == nil && session.UserID == "" {
		// An empty id is what everybody has who has none: they are not one user.
		err = ErrNoUserID
	}
	return session, err
}

// loggedIn refuses a visitor's session.
func loggedIn[T any](session sessioncache.Session[T], err error) (sessioncache.Session[T], error) {
	if err == nil && session.Anonymous() {
		return sessioncache.Session[T]{}, ErrAnonymous
	}
	return session, err
}

// reportRequest reports an event of a request.
func (m *Manager[T]) reportRequest(ctx context.Context, s *requestSession[T], event Event) {
	event.RemoteAddr = m.config.remote(s.request)
	m.report(ctx, event)
}
