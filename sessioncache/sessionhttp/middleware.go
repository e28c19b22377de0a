package sessionhttp

import (
	"context"
	"net/http"
	"time"

	"github.com/rhaptos/sessiondb/sessioncache"
	"github.com/rhaptos/sessiondb/sessioncache/sessionhttp/internal/fake"
)

// Middleware adds the session to the request's context. The Manager's other calls need
// it. It looks nothing up itself. It refuses requests that come from another site and
// whose method may change something ([http.CrossOriginProtection]). With [WithBearer],
// requests with a bearer token are not checked.
//
// A response gets the header "Vary: Cookie", unless its Cache-Control is public or
// immutable and it has not read the session. It gets "Cache-Control: no-store" if it sets
// a cookie of the Manager, or if it has read the session before its first byte and has no
// Cache-Control of its own; Surrogate-Control and CDN-Cache-Control are then removed.
//
// A cookie of the Manager is set even if the handler clears the headers afterwards, as an
// error page or a reverse proxy may do: the database has stored the session. A handler that
// wants no cookie calls [Manager.Logout].
func (m *Manager[T]) Middleware(next http.Handler) http.Handler {
	refused := m.config.protection.Handler(next) // answers as the protection is configured to
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s := newRequestSession[T]()
		s.response.ResponseWriter = w
		s.response.bearer = m.config.bearer
		s.response.done = r.Context().Done()
		s.request = r.WithContext(context.WithValue(r.Context(), m, s))
		if login, ok := r.Context().Value(fake.Key{Manager: m}).(*fake.Login); ok {
			m.setFake(s, login)
		}
		if !m.takesBearer(r) {
			if err := m.config.protection.Check(r); err != nil {
				m.reportRequest(r.Context(), s, Event{Kind: EventCrossOrigin, Reason: err})
				refused.ServeHTTP(w, r)
				return
			}
		}
		defer s.response.addHeaders() // if the handler has written nothing
		next.ServeHTTP(&s.response, s.request)
	})
}

// Require protects pages that need a login. Requests without a login are answered by
// [Manager.Error]: a browser that navigates is redirected to the login page, and all
// other requests are answered 401. (A browser navigates if Sec-Fetch-Mode is navigate, or
// if that header is absent and Accept names text/html.) After a GET or HEAD, the address of
// the login page has the page as ?next= ([Manager.Next]). If the database does not answer,
// the answer is 503.
func (m *Manager[T]) Require(next http.Handler) http.Handler {
	return m.require(next, func(sessioncache.Session[T]) error { return nil })
}

// RequireFresh protects pages that need a recent login. The user must have proved their
// identity within the last d, at login or by [Manager.Reauthenticated]. Otherwise a
// browser that navigates is redirected to the re-authentication page, and all other
// requests are answered 401. Requests without a login are answered as in Require.
//
// Protect the page that shows a form, too: a POST is not repeated after the redirect.
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
		session, err := m.findLocked(r.Context(), "require", m.findUser)
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
