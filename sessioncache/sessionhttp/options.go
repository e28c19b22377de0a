package sessionhttp

import (
	"fmt"
	"log/slog"
	"net/http"
	"strings"
)

// Option changes how a [Manager] behaves.
type Option func(*config)

type config struct {
	sessionCookie, profileCookie string // without prefix

	insecure       bool
	browserSession bool
	profile        any // a func(T) any
	logger         *slog.Logger
	fail           func(http.ResponseWriter, *http.Request, error)
	remote         func(*http.Request) string
}

func newConfig(options []Option) config {
	c := config{
		sessionCookie: "session",
		profileCookie: "profile",
		logger:        slog.New(slog.DiscardHandler),
		fail:          answer,
		remote:        remoteAddress,
	}
	for _, option := range options {
		option(&c)
	}
	if !c.insecure {
		// RFC 6265bis section 4.1.3.2: browsers take such a cookie only if it is Secure,
		// of no domain and for all paths, so that no sister host can plant one.
		c.sessionCookie, c.profileCookie = "__Host-"+c.sessionCookie, "__Host-"+c.profileCookie
	}
	return c
}

// WithBrowserSessionCookie makes cookies that end with the browser's session
// instead of with the login. (A browser that brings back its windows brings back
// these, too.)
//
// Default: cookies that last as long as the login may.
func WithBrowserSessionCookie() Option {
	return func(c *config) { c.browserSession = true }
}

// WithCookieNames names the two cookies, without the prefix __Host-, which is put
// before them. Two services on one host need names of their own. A name that
// RFC 6265 does not allow, one longer than 64 bytes or the same one twice panics.
//
// Default: session and profile.
func WithCookieNames(session, profile string) Option {
	for _, name := range []string{session, profile} {
		cookie := http.Cookie{Name: name}
		if cookie.Valid() != nil || len(name) > 64 || strings.HasPrefix(name, "__") {
			panic(fmt.Sprintf("sessionhttp: WithCookieNames: %q is not the name of a cookie", name))
		}
	}
	if session == profile {
		panic("sessionhttp: WithCookieNames: the two cookies have one name")
	}
	return func(c *config) { c.sessionCookie, c.profileCookie = session, profile }
}

// WithErrorHandler sets how [Manager.Require] and [Manager.Error] answer requests
// that failed. A handler must not take [sessioncache.ErrUnavailable] for "logged
// out". A nil handler panics.
//
// Default: 503 for [sessioncache.ErrUnavailable], 403 for [ErrNoSession], else 500.
//
// [sessioncache.ErrUnavailable]: https://pkg.go.dev/github.com/rhaptos/sessiondb/sessioncache#ErrUnavailable
func WithErrorHandler(handler func(w http.ResponseWriter, r *http.Request, err error)) Option {
	if handler == nil {
		panic("sessionhttp: WithErrorHandler: the handler is nil")
	}
	return func(c *config) { c.fail = handler }
}

// WithInsecureCookies makes cookies that travel over plain HTTP, without Secure
// and the prefix __Host-: whoever listens on the way is logged in. It is for
// development with a browser that does not take http://localhost for secure, as
// Chrome and Firefox do, and for nothing else.
func WithInsecureCookies() Option {
	return func(c *config) { c.insecure = true }
}

// WithLogger sets where events are logged: at level Info sessions that are
// created, renewed, ended, expired and unknown, at level Warn what no honest
// browser sends. A session is logged as the fingerprint of its id, a token not at
// all. A nil logger panics.
//
// Default: nothing is logged.
func WithLogger(logger *slog.Logger) Option {
	if logger == nil {
		panic("sessionhttp: WithLogger: the logger is nil")
	}
	return func(c *config) { c.logger = logger }
}

// WithProfile makes a second cookie, for the page's scripts to read: choose
// returns what they may see of a user, which is stored as JSON:
//
//	JSON.parse(decodeURIComponent(value))
//
// It comes and goes with the session cookie. Anybody can change what is in it, so
// nothing on the server reads it. A profile whose cookie would be longer than
// 4,096 bytes is left out and logged. A nil function panics, and so does [New] if
// it is not for the Manager's type.
//
// Default: no such cookie.
func WithProfile[T any](choose func(user T) any) Option {
	if choose == nil {
		panic("sessionhttp: WithProfile: the function is nil")
	}
	return func(c *config) { c.profile = choose }
}

// WithRemoteAddress sets how to tell where a request comes from, for
// [Manager.Guesses]: behind a proxy, what the proxy says. A nil function panics.
//
// Default: the host of [http.Request.RemoteAddr], of an IPv6 address the first 64
// bits, which one customer of a provider has.
func WithRemoteAddress(remote func(r *http.Request) string) Option {
	if remote == nil {
		panic("sessionhttp: WithRemoteAddress: the function is nil")
	}
	return func(c *config) { c.remote = remote }
}
