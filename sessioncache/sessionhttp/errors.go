package sessionhttp

import (
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"

	"github.com/rhaptos/sessiondb/sessioncache"
)

// ErrNoSession is returned by every call that needs a session of a user who has
// logged in: "please log in". Under it is one of the reasons that follow. When the
// database does not answer, the error is sessioncache.ErrUnavailable instead.
var ErrNoSession = errors.New("no session")

// ErrNoCookie means that the request carries no session cookie and no bearer token, or
// that its session has just been logged out.
var ErrNoCookie = fmt.Errorf("%w: no session cookie", ErrNoSession)

// ErrMalformedCookie means that the session cookie or the bearer token is not a token, or
// that there are several cookies. It never reached the database.
var ErrMalformedCookie = fmt.Errorf("%w: malformed session cookie", ErrNoSession)

// ErrUnknownSession means that the token opens no session. The session was logged out, has
// expired and been purged, or never was.
var ErrUnknownSession = fmt.Errorf("%w: unknown session", ErrNoSession)

// ErrExpiredSession means that the session's time is over.
var ErrExpiredSession = fmt.Errorf("%w: the session has expired", ErrNoSession)

// ErrUnreadableSession means that the stored user does not fit the Manager's type, which
// has changed since. The session stays, and logging in again replaces it. It is
// sessioncache.ErrUnreadableSession, too.
var ErrUnreadableSession = fmt.Errorf("%w: %w", ErrNoSession, sessioncache.ErrUnreadableSession)

// ErrAnonymous means that the session is one of a visitor who has not logged in.
var ErrAnonymous = fmt.Errorf("%w: the visitor has not logged in", ErrNoSession)

// ErrNotFresh is given to the error handler by [Manager.RequireFresh] when the user
// has last proved who they are too long ago.
var ErrNotFresh = errors.New("the login is too old")

// ErrNoUserID is returned by the calls about all sessions of a user, when the
// stored user has no user_id at the top level of its JSON, or an empty one.
var ErrNoUserID = errors.New("the user of the session has no user_id")

// ErrUnknownHandle is returned by [Manager.LogoutSession] for a handle that is not one
// of this user's sessions. Whether it is somebody else's it does not say.
var ErrUnknownHandle = errors.New("no such session of this user")

// ErrTooLate is returned by the calls that have to set a cookie, when the response
// has begun and can set none. Nothing has changed.
var ErrTooLate = errors.New("the response has begun: no cookie can be set")

// ErrBearer is returned by the calls that have to set a cookie, for a request with a
// bearer token. Nothing has changed.
var ErrBearer = errors.New("the request has a bearer token, and takes no cookie")

// ErrNoMiddleware is returned when the request has not come through
// [Manager.Middleware] of this Manager: a mistake in the program.
var ErrNoMiddleware = errors.New("the request has not come through the Manager's middleware")

var errFake = errors.New("a login of sessionhttptest is in no database")

// failed says which call an error is of.
func failed(op string, err error) error {
	return fmt.Errorf("sessionhttp: %s: %w", op, err)
}

// Error answers a request that failed. A browser that navigates is redirected to the
// login page for [ErrNoSession] and to the re-authentication page for [ErrNotFresh],
// where [WithLoginPage] and [WithReauthenticationPage] name them. All else goes to the
// error handler ([WithErrorHandler] has the default). What the client reads does not
// tell the cause.
func (m *Manager[T]) Error(w http.ResponseWriter, r *http.Request, err error) {
	page := ""
	switch {
	case errors.Is(err, ErrNoSession):
		page = m.config.loginPage
	case errors.Is(err, ErrNotFresh):
		page = m.config.reauthenticationPage
	}
	switch {
	case page != "" && isNavigation(r) && !m.takesBearer(r) && !m.begun(r):
		http.Redirect(w, r, page, http.StatusSeeOther)
	case m.config.fail != nil:
		m.config.fail(w, r, err)
	default:
		m.answer(w, r, err)
	}
}

// answer is the default error handler.
func (m *Manager[T]) answer(w http.ResponseWriter, r *http.Request, err error) {
	status := http.StatusInternalServerError
	switch {
	case errors.Is(err, sessioncache.ErrUnavailable), errors.Is(err, sessioncache.ErrSuperseded), errors.Is(err, sessioncache.ErrNotAwaited):
		status = http.StatusServiceUnavailable
		w.Header().Set("Retry-After", "1")
	case errors.Is(err, ErrNoSession), errors.Is(err, ErrNotFresh):
		status = http.StatusUnauthorized
		if m.config.bearer {
			w.Header().Set("WWW-Authenticate", challenge(r, err))
		}
	case errors.Is(err, ErrUnknownHandle):
		status = http.StatusNotFound
	}
	if status >= http.StatusInternalServerError && !errors.Is(err, sessioncache.ErrSuperseded) {
		m.failureLogger().LogAttrs(r.Context(), slog.LevelError, "request failed",
			slog.Any("error", err), slog.String("method", r.Method), slog.String("path", r.URL.Path))
	}
	if !m.begun(r) { // or the error would be in the middle of a page
		http.Error(w, http.StatusText(status), status)
	}
}

// begun tells whether part of the response has gone out.
func (m *Manager[T]) begun(r *http.Request) bool {
	s := m.of(r.Context())
	return s != nil && s.response.begun.Load()
}

func (m *Manager[T]) failureLogger() *slog.Logger {
	if m.config.logger != nil {
		return m.config.logger
	}
	return slog.Default()
}

// challenge is what RFC 6750 section 3 and RFC 9470 section 3 ask a program to do.
func challenge(r *http.Request, err error) string {
	switch {
	case errors.Is(err, ErrNotFresh):
		return `Bearer error="insufficient_user_authentication"`
	case hasBearer(r):
		return `Bearer error="invalid_token"`
	default:
		return "Bearer"
	}
}

// isNavigation tells whether a browser shows the answer as a page. Browsers say so
// (Fetch Metadata); of an older one it shows in what it accepts.
func isNavigation(r *http.Request) bool {
	if mode := r.Header.Get("Sec-Fetch-Mode"); mode != "" {
		return mode == "navigate"
	}
	return strings.Contains(r.Header.Get("Accept"), "text/html")
}
