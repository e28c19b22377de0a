package sessionhttp

import (
	"context"
	"net/http"
	"time"

	"github.com/rhaptos/sessiondb/sessioncache"
	"github.com/rhaptos/sessiondb/sessioncache/sessionhttp/internal/fake"
)

// Middleware adds the session to the request's context: every other call needs it.
// It looks nothing up itself. It refuses requests that change something and come from
// another site ([http.CrossOriginProtection]), but for those with a bearer token where
// [WithBearer] takes them.
//
// A response says "Vary: Cookie", unless its Cache-Control makes it public. One that has
// read the session before its first byte, and has no Cache-Control of its own, is not to
// be stored; nor is one that sets a cookie.
func (m *Manager[T]) Middleware(next http.Handler) http.Handler {
	refused := m.config.protection.Handler(next) // with its own way to refuse
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s := newRequestSession[T]()
		s.response.ResponseWriter = w
		s.response.bearer = m.config.bearer
		s.response.done = r.Context().Done()
		s.request = r.WithContext(context.WithValue(r.Context(), m, s))
		if login, ok := r.Context().Value(fake.Key{Manager: m}).(*fake.Login); ok {
			m.pretend(s, login)
		}
		if !m.takesBearer(r) {
			if err := m.config.protection.Check(r); err != nil {
				m.reportRequest(r.Context(), s, Event{Kind: EventCrossOrigin, Reason: err})
				refused.ServeHTTP(w, r)
				return
			}
		}
		defer s.response.addHeaders() // for a handler that writes nothing
		next.ServeHTTP(&s.response, s.request)
	})
}

// Require guards pages that need a login. Requests without one are answered by
// [Manager.Error]: a browser that navigates (Sec-Fetch-Mode is navigate, or it is not
// there and Accept names text/html) is redirected to the login page, all else
// is answered 401. When the database does not answer, neither happens: the answer is
// 503.
func (m *Manager[T]) Require(next http.Handler) http.Handler {
	return m.require(next, func(sessioncache.Session[T]) error { return nil })
}

// RequireFresh guards what needs more than a login: a proof by the user of who they
// are within the last d, at login or by [Manager.Reauthenticated]. A browser that
// navigates is redirected to the re-authentication page, all else is answered 401.
func (m *Manager[T]) RequireFresh(d time.Duration, next http.Handler) http.Handler {
	return m.require(next, func(session sessioncache.Session[T]) error {
		if session.SinceAuthenticated() > d {
			return failed("require", ErrNotFresh)
		}
		return nil
	})
}

func (m *Manager[T]) require(next http.Handler, check func(sessioncache.Session[T]) error) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		session, err := m.ask(r.Context(), "require", m.findUser)
		if err == nil {
			err = check(session)
		}
		if err != nil {
			m.Error(w, r, err)
			return
		}
		next.ServeHTTP(w, r)
	})
}
