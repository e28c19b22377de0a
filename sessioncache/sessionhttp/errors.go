package sessionhttp

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"

	"github.com/rhaptos/sessiondb/sessioncache"
)

// ErrNoSession is returned by every call that needs a user who has logged in, if there is
// none: "please log in". The returned error is one of ErrAnonymous, ErrExpiredSession,
// ErrMalformedCookie, ErrNoCookie, ErrUnknownSession and ErrUnreadableSession. Each of them
// matches ErrNoSession. If the database does not answer, the error is
// sessioncache.ErrUnavailable instead.
var ErrNoSession = errors.New("no session")

// ErrNoCookie means that the request has no session cookie and no bearer token, or that
// its session has just been logged out.
var ErrNoCookie = fmt.Errorf("%w: no session cookie", ErrNoSession)

// ErrMalformedCookie means that the session cookie or the bearer token is not a token, or
// that the request has several session cookies ([Manager.Login] and [Manager.Logout] accept
// up to four, and leave one or none), or more cookies than net/http reads. It was not looked
// up in the database.
var ErrMalformedCookie = fmt.Errorf("%w: malformed session cookie", ErrNoSession)

// ErrUnknownSession means that the token opens no session. The session was logged out, or
// has expired and been purged, or never existed, or a renewal has replaced the token.
var ErrUnknownSession = fmt.Errorf("%w: unknown session", ErrNoSession)

// ErrExpiredSession means that the session has expired.
var ErrExpiredSession = fmt.Errorf("%w: the session has expired", ErrNoSession)

// ErrUnreadableSession means that the stored user does not fit the Manager's type, which
// has changed. The session stays; a new login replaces it. The error also matches
// sessioncache.ErrUnreadableSession.
var ErrUnreadableSession = fmt.Errorf("%w: %w", ErrNoSession, sessioncache.ErrUnreadableSession)

// ErrAnonymous means that the session is a visitor's, who has not logged in.
var ErrAnonymous = fmt.Errorf("%w: the visitor has not logged in", ErrNoSession)

// ErrNotFresh means that the user last proved their identity too long ago.
// [Manager.RequireFresh] gives it to the error handler.
var ErrNotFresh = errors.New("the login is too old")

// ErrNoUserID is returned by calls about all sessions of a user, if the user's JSON has
// no user_id at its top level, or an empty one.
var ErrNoUserID = errors.New("the user of the session has no user_id")

// ErrUnknownHandle is returned by [Manager.LogoutSession] if the handle is not one of
// this user's sessions. The error does not reveal whether another user
// has such a session.
var ErrUnknownHandle = errors.New("no such session of this user")

// ErrHeadersSent is returned by calls that must set a cookie, if the headers of the response
// have already been sent. Nothing has changed.
var ErrHeadersSent = errors.New("the response has started: no cookie can be set")

// ErrBearer is returned by calls that must set a cookie, if the request has a bearer
// token. Nothing has changed.
var ErrBearer = errors.New("the request has a bearer token: no cookie can be set")

// ErrNoMiddleware is returned if the request did not pass through [Manager.Middleware] of
// this Manager. It is a mistake in the program.
var ErrNoMiddleware = errors.New("the request did not pass through the Manager's middleware")

var errFake = errors.New("a login of sessionhttptest is not in the database")

// failed adds to an error which call it comes from. An error of a caller's function is
// returned unchanged.
func failed(op string, err error) error {
	if callback, ok := errors.AsType[errCallback](err); ok {
		return callback.error
	}
	return fmt.Errorf("sessionhttp: %s: %w", op, err)
}

// Error answers a request that failed. A browser that navigates is redirected to the page
// of [WithLoginPage] for [ErrNoSession], and to the page of [WithReauthenticationPage]
// for [ErrNotFresh]. After a GET or HEAD, the address has the page that the request was for
// as ?next=, unless it is longer than 2,000 bytes ([Manager.Next]). All other requests, and
// those without such a page, go to the error handler; [WithErrorHandler] describes the
// default. The answer does not show the cause. If the request had several session cookies,
// the answer removes those of other paths than the root.
//
// If the client has gone, which ends the request's context, and a call failed because of
// that, Error only logs it, at level Debug, and sets the status 499.
func (m *Manager[T]) Error(w http.ResponseWriter, r *http.Request, err error) {
	if isClientGone(r, err) {
		m.failureLogger().LogAttrs(r.Context(), slog.LevelDebug, "client has gone", requestAttrs(r, err)...)
		if !m.headersSent(r) {
			w.WriteHeader(statusClientGone)
		}
		return
	}
	if errors.Is(err, errSeveralCookies) && !m.headersSent(r) {
		m.expirePathCookies(w, r)
	}
	page := ""
	switch {
	case errors.Is(err, ErrNoSession):
		page = m.config.loginPage
	case errors.Is(err, ErrNotFresh):
		page = m.config.reauthenticationPage
	}
	switch {
	case page != "" && isNavigation(r) && !m.takesBearer(r) && !m.headersSent(r):
		http.Redirect(w, r, withNext(page, r), http.StatusSeeOther)
	case m.config.errorHandler != nil:
		m.config.errorHandler(w, r, err)
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
	case errors.Is(err, sessioncache.ErrUserTooLarge):
		status = http.StatusRequestEntityTooLarge
	}
	if status >= http.StatusInternalServerError && !errors.Is(err, sessioncache.ErrSuperseded) {
		m.failureLogger().LogAttrs(r.Context(), slog.LevelError, "request failed", requestAttrs(r, err)...)
	}
	if !m.headersSent(r) { // otherwise the text would be in the middle of a page
		http.Error(w, http.StatusText(status), status)
	}
}

// statusClientGone is nginx's status for a client that has gone. Nobody receives it, but
// access logs and metrics of the service show it, and a 503 would look like a failure.
const statusClientGone = 499

// isClientGone reports whether a call failed because the request's context was canceled: by
// the server, when the client has gone. A context whose time is up is another matter.
func isClientGone(r *http.Request, err error) bool {
	return errors.Is(r.Context().Err(), context.Canceled) &&
		(errors.Is(err, context.Canceled) || errors.Is(err, sessioncache.ErrUnavailable) || errors.Is(err, sessioncache.ErrNotAwaited))
}

func requestAttrs(r *http.Request, err error) []slog.Attr {
	return []slog.Attr{slog.Any("error", err), slog.String("method", r.Method), slog.String("path", r.URL.Path)}
}

// headersSent reports whether the headers of the response have been sent.
func (m *Manager[T]) headersSent(r *http.Request) bool {
	s := m.of(r.Context())
	return s != nil && s.response.headersSent.Load()
}

func (m *Manager[T]) failureLogger() *slog.Logger {
	if m.config.logger != nil {
		return m.config.logger
	}
	return slog.Default()
}

// challenge returns the header WWW-Authenticate (RFC 6750 section 3, RFC 9470 section 3).
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

// isNavigation reports whether a browser will show the answer as a page. Newer browsers
// say so (Fetch Metadata). For older ones the header Accept tells.
func isNavigation(r *http.Request) bool {
	if mode := r.Header.Get("Sec-Fetch-Mode"); mode != "" {
		return mode == "navigate"
	}
	return strings.Contains(r.Header.Get("Accept"), "text/html")
}
