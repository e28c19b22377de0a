package sessionhttp

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/rhaptos/sessiondb/sessioncache"
	"github.com/rhaptos/sessiondb/sessioncache/sessionhttp/internal/fake"
	"github.com/rhaptos/sessiondb/sid"
)

// lookupTTL is how long the result of a lookup is used within a request. All calls of a
// short request share one lookup, and a long request sees a logout.
const lookupTTL = time.Second

// requestSession is the session of a request.
type requestSession[T any] struct {
	response response
	request  *http.Request

	// locked is a mutex of the fields below. Waiting for it can end with a context.
	locked chan struct{}

	read        bool // the credentials have been read
	credentials credentials
	token       sid.Token // valid if absent is nil
	absent      error     // why there is no session; nil if there may be one

	// The result of the last lookup.
	known   bool
	at      time.Time
	session sessioncache.Session[T]
	err     error

	// The token was found live in this request. If it is superseded later, the request was
	// in flight.
	live bool

	watched *watch // of the last call of Context; nil before

	fake bool // a login of sessionhttptest, which is not in the database
}

func newRequestSession[T any]() *requestSession[T] {
	return &requestSession[T]{locked: make(chan struct{}, 1)}
}

// of returns the session of the request that a context belongs to, or nil.
func (m *Manager[T]) of(ctx context.Context) *requestSession[T] {
	s, _ := ctx.Value(m).(*requestSession[T])
	if s == nil {
		// A test may call a handler without the middleware.
		if login, ok := ctx.Value(fake.Key{Manager: m}).(*fake.Login); ok {
			login.Once.Do(func() {
				s := newRequestSession[T]()
				s.request = new(http.Request)
				m.setFake(s, login)
				login.Session = s
			})
			s, _ = login.Session.(*requestSession[T])
		}
	}
	return s
}

// setFake makes a test's login the session.
func (m *Manager[T]) setFake(s *requestSession[T], login *fake.Login) {
	now, lifetime := time.Now(), m.cache.Lifetime()
	user, _ := login.User.(T) // not if T is an interface and the user nil
	s.fake, s.read, s.known = true, true, true
	s.session = sessioncache.Session[T]{
		Handle: login.Handle, User: user, UserID: m.fakeUserID(user), State: sessioncache.StateLive,
		CreatedAt: now, AuthenticatedAt: now, LastUsedAt: now, ExpiresAt: now.Add(lifetime), Deadline: now.Add(lifetime), TTL: lifetime,
	}
	if m.config.device != nil {
		s.session.Device = m.config.device(login.Request)
	}
}

// fakeUserID is empty for a user that could not be stored.
func (m *Manager[T]) fakeUserID(user T) string {
	userID, _ := m.cache.UserID(user)
	return userID
}

// lock locks and returns the session of the request that a context belongs to. The caller
// unlocks it.
func (m *Manager[T]) lock(ctx context.Context) (*requestSession[T], error) {
	s := m.of(ctx)
	if s == nil {
		return nil, ErrNoMiddleware
	}
	select {
	case s.locked <- struct{}{}: // even if the context has ended
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

// set gives the request another session, which has not been looked up.
func (s *requestSession[T]) set(token sid.Token) {
	s.token, s.absent, s.live = token, nil, false
	s.credentials.tokens = []sid.Token{token}
	s.forgetLookup()
}

// clear removes the session from the request, for a reason.
func (s *requestSession[T]) clear(reason error) {
	s.token, s.absent = sid.Token{}, reason
	s.credentials.tokens = nil
	s.known, s.session, s.err = false, sessioncache.Session[T]{}, nil
}

// forgetLookup makes the next call look the session up again. A test's login stays.
func (s *requestSession[T]) forgetLookup() {
	if !s.fake {
		s.known, s.session, s.err = false, sessioncache.Session[T]{}, nil
	}
}

// find returns the live session of the request, a user's or a visitor's. If there is
// none, the error says why. cache is the Manager's, or that of a transaction: a lookup in
// a transaction must not wait for a second connection.
func (m *Manager[T]) find(ctx context.Context, cache *sessioncache.Cache[T], s *requestSession[T]) (sessioncache.Session[T], error) {
	s.response.sessionRead.Store(true)
	if s.absent != nil {
		return sessioncache.Session[T]{}, s.absent
	}
	if s.fake || s.known && time.Since(s.at) < lookupTTL {
		return s.session, s.err
	}
	return m.lookUp(ctx, cache, s)
}

// lookUp returns the session of the request as it is now.
func (m *Manager[T]) lookUp(ctx context.Context, cache *sessioncache.Cache[T], s *requestSession[T]) (sessioncache.Session[T], error) {
	s.response.sessionRead.Store(true)
	if s.absent != nil || s.fake {
		return s.session, s.absent
	}
	at := time.Now() // not the time of the answer: the session may end while that is on its way
	if s.live {
		cache = cache.WithInFlight()
	}
	session, ok, err := cache.Authenticate(ctx, s.token)
	s.live = s.live || ok
	if errors.Is(err, sessioncache.ErrUnavailable) {
		at = time.Now() // waiting calls share this answer, and do not wait for a timeout each
	}
	if err != nil || !ok {
		session, err = sessioncache.Session[T]{}, m.refuse(ctx, s, session, err)
	}
	if ctx.Err() == nil { // the end of one caller's context is no answer for the next caller
		s.session, s.err, s.known, s.at = session, err, true, at
	}
	return session, err
}

// refuse reports why a token was refused, and returns the reason.
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

// findUser returns the session of the request, if a user has logged in.
func (m *Manager[T]) findUser(ctx context.Context, cache *sessioncache.Cache[T], s *requestSession[T]) (sessioncache.Session[T], error) {
	return loggedIn(m.find(ctx, cache, s))
}

// findOwner returns the session as it is now, for calls about all sessions of its user.
func (m *Manager[T]) findOwner(ctx context.Context, cache *sessioncache.Cache[T], s *requestSession[T]) (sessioncache.Session[T], error) {
	session, err := loggedIn(m.lookUp(ctx, cache, s))
	if err == nil && session.UserID == "" {
		// All users without an id would share the empty one.
		err = ErrNoUserID
	}
	return session, err
}

// loggedIn returns ErrAnonymous for a visitor's session.
func loggedIn[T any](session sessioncache.Session[T], err error) (sessioncache.Session[T], error) {
	if err == nil && session.Anonymous() {
		return sessioncache.Session[T]{}, ErrAnonymous
	}
	return session, err
}

// reportRequest reports an event that a request has caused.
func (m *Manager[T]) reportRequest(ctx context.Context, s *requestSession[T], event Event) {
	event.RemoteAddr = m.config.remoteAddress(s.request)
	m.report(ctx, event)
}
