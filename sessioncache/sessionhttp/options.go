package sessionhttp

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// Option changes how a [Manager] behaves.
type Option func(*config)

type config struct {
	device                       func(r *http.Request) string // nil: devices have no names
	sessionCookie, profileCookie string                       // newConfig adds the prefix

	domain         string
	sameSite       http.SameSite
	insecure       bool
	browserSession bool
	bearer         bool
	profile        any // a func(T) any

	loginPage, reauthenticationPage string

	timeout       time.Duration
	visitors      time.Duration // 0: the default of WithVisitorLifetime
	protection    *http.CrossOriginProtection
	remoteAddress func(*http.Request) string
	events        func(context.Context, Event)
	logger        *slog.Logger // nil: events are not logged, failures go to slog.Default
	errorHandler  func(http.ResponseWriter, *http.Request, error)
}

func newConfig(options []Option) config {
	c := config{
		sessionCookie: "session",
		profileCookie: "profile",
		sameSite:      http.SameSiteLaxMode,
		timeout:       5 * time.Second,
		protection:    http.NewCrossOriginProtection(),
		remoteAddress: func(r *http.Request) string { return r.RemoteAddr },
		events:        func(context.Context, Event) {},
	}
	for _, option := range options {
		option(&c)
	}
	// RFC 6265bis section 4.1.3: browsers accept a cookie with the prefix __Host- only if
	// it is Secure, without a domain and for all paths. So no other host of the domain
	// can set it. They accept one with __Secure- only if it is Secure.
	prefix := "__Host-"
	switch {
	case c.insecure:
		prefix = ""
	case c.domain != "":
		prefix = "__Secure-"
	}
	c.sessionCookie, c.profileCookie = prefix+c.sessionCookie, prefix+c.profileCookie
	return c
}

// WithBearer lets programs log in with the header "Authorization: Bearer" and a token of
// [Manager.IssueBearer] (RFC 6750). If a request has that header, its cookies are
// ignored: a bad token is refused even beside a good cookie. Such requests need no
// protection against other sites, because other sites cannot send the header.
//
// Default: the header is ignored.
func WithBearer() Option {
	return func(c *config) { c.bearer = true }
}

// WithBrowserSessionCookie makes cookies without Max-Age: the browser deletes them when it
// closes. Logins with [Remember] keep a persistent cookie. (A browser that
// restores its windows restores these cookies, too.)
//
// Default: persistent cookies, which last as long as the login can, but at most 400 days,
// the most that browsers allow (RFC 6265bis section 5.5).
func WithBrowserSessionCookie() Option {
	return func(c *config) { c.browserSession = true }
}

// WithCookieName sets the name of the session cookie, without its prefix. The name of the
// profile cookie is the same name followed by -profile. Two services on one host need
// different names, and so do services on several hosts of one domain, if one of them has
// [WithDomain]: a browser sends all cookies of one name, and does not say which is whose.
// WithCookieName panics if RFC 6265 does not allow the name, if the name is longer than 64
// bytes, or if it begins with two underscores.
//
// Default: session and profile.
func WithCookieName(name string) Option {
	cookie := http.Cookie{Name: name}
	if cookie.Valid() != nil || len(name) > 64 || strings.HasPrefix(name, "__") {
		panic(fmt.Sprintf("sessionhttp: WithCookieName: %q cannot be the name of a cookie", name))
	}
	return func(c *config) { c.sessionCookie, c.profileCookie = name, name+"-profile" }
}

// WithCrossOriginProtection replaces the protection against requests that other sites
// make a browser send, for example to trust an origin. It panics if the protection is
// nil.
//
// Default: [http.NewCrossOriginProtection].
func WithCrossOriginProtection(protection *http.CrossOriginProtection) Option {
	if protection == nil {
		panic("sessionhttp: WithCrossOriginProtection: the protection is nil")
	}
	return func(c *config) { c.protection = protection }
}

// WithDomain sends the cookies to all hosts of a domain, so that one login is valid on
// all of them. It weakens the protection: the prefix is __Secure- instead of __Host-, and
// every host of the domain can read the cookie, and can set one of its own, for example to
// log the browser in as somebody else.
//
// Services on other hosts of the domain need names of their own ([WithCookieName]). If the
// domain is changed, browsers keep the former cookie and send both. Nobody is logged in with
// both: the user sees the login page, and the next [Manager.Login] or [Manager.Logout]
// removes the other cookie. WithDomain panics if RFC 6265 does not allow the domain.
//
// Default: this host only.
func WithDomain(domain string) Option {
	cookie := http.Cookie{Name: "n", Domain: domain}
	if domain == "" || cookie.Valid() != nil {
		panic(fmt.Sprintf("sessionhttp: WithDomain: %q cannot be the domain of a cookie", domain))
	}
	return func(c *config) { c.domain = domain }
}

// WithErrorHandler sets how [Manager.Error], [Manager.Require] and [Manager.RequireFresh]
// answer failed requests that are not redirected to the login page or the
// re-authentication page, and whose client has not gone. The handler must not treat
// [sessioncache.ErrUnavailable] as "logged out". A nil handler panics.
//
// Default: 503 for [sessioncache.ErrUnavailable], [sessioncache.ErrSuperseded] and
// [sessioncache.ErrNotAwaited], 401 for [ErrNoSession] and [ErrNotFresh], 404 for
// [ErrUnknownHandle], 413 for [sessioncache.ErrUserTooLarge], otherwise 500. Answers of 500 and 503 are logged, except for
// [sessioncache.ErrSuperseded]. A client that has gone is logged at level Debug.
//
// [sessioncache.ErrNotAwaited]: https://pkg.go.dev/github.com/rhaptos/sessiondb/sessioncache#ErrNotAwaited
// [sessioncache.ErrUnavailable]: https://pkg.go.dev/github.com/rhaptos/sessiondb/sessioncache#ErrUnavailable
// [sessioncache.ErrUserTooLarge]: https://pkg.go.dev/github.com/rhaptos/sessiondb/sessioncache#ErrUserTooLarge
// [sessioncache.ErrSuperseded]: https://pkg.go.dev/github.com/rhaptos/sessiondb/sessioncache#ErrSuperseded
func WithErrorHandler(handler func(w http.ResponseWriter, r *http.Request, err error)) Option {
	if handler == nil {
		panic("sessionhttp: WithErrorHandler: the handler is nil")
	}
	return func(c *config) { c.errorHandler = handler }
}

// WithDevice names the device of each login, for example by its User-Agent. [Session].Device
// shows the name on a page of the user's devices. The name is cut to 200 characters.
// WithDevice panics if the function is nil.
//
// Default: devices have no names.
func WithDevice(name func(r *http.Request) string) Option {
	if name == nil {
		panic("sessionhttp: WithDevice: the function is nil")
	}
	return func(c *config) { c.device = name }
}

// WithEvents sets a function that receives every [Event], for an audit log. The request
// that caused the event calls it, before it is answered. The function must not call the
// Manager. A nil function panics.
//
// Default: events go to the logger only ([WithLogger]).
func WithEvents(report func(ctx context.Context, event Event)) Option {
	if report == nil {
		panic("sessionhttp: WithEvents: the function is nil")
	}
	return func(c *config) { c.events = report }
}

// WithInsecureCookies makes cookies for plain HTTP, without the attribute Secure and
// without a prefix. Anybody who can read the traffic can then use the session. The option
// is only for development with a browser that does not treat http://localhost as secure.
// Chrome and Firefox treat it as secure and do not need this option.
func WithInsecureCookies() Option {
	return func(c *config) { c.insecure = true }
}

// WithLogger sets the logger of events and failed requests. Malformed, unknown and
// superseded tokens, unreadable sessions and cross-origin requests are logged at level
// Warn, all other events at level Info, and failed requests at level Error. The line of an
// event has its [Kind] as the attribute kind. The log shows a session's handle, and never a
// token. A nil logger panics.
//
// Default: events are not logged, and failed requests are logged by [slog.Default].
func WithLogger(logger *slog.Logger) Option {
	if logger == nil {
		panic("sessionhttp: WithLogger: the logger is nil")
	}
	return func(c *config) { c.logger = logger }
}

// WithLoginPage sets the login page. A browser is redirected there if it navigates to a
// page that needs a login and the user is not logged in. The address is then, for example,
// /login?next=%2Forders: [Manager.Next] returns the page to return to. The path is a path
// of this service, such as /login; a URL of another site panics.
//
// Default: the answer is 401.
func WithLoginPage(path string) Option {
	checkPage("WithLoginPage", path)
	return func(c *config) { c.loginPage = path }
}

// WithProfile adds a second cookie, which scripts on the page can read. choose returns
// what they may see of a user. The cookie holds it as JSON:
//
//	JSON.parse(decodeURIComponent(value))
//
// The cookie is set and cleared together with the session cookie of a login. Anybody can
// change its content, so nothing on the server reads it. If it would be longer than 4,096
// bytes, it is left out and a warning is logged. A nil function panics. [New] panics if
// the function is not for the Manager's type.
//
// Default: no such cookie.
func WithProfile[T any](choose func(user T) any) Option {
	if choose == nil {
		panic("sessionhttp: WithProfile: the function is nil")
	}
	return func(c *config) { c.profile = choose }
}

// WithReauthenticationPage sets the page where a user proves their identity again. A
// browser is redirected there if it navigates to a page that needs a more recent login
// ([Manager.RequireFresh]), with ?next= as for [WithLoginPage]. The path is a path of this
// service; a URL of another site panics.
//
// Put the page behind [Manager.Require]. When it has checked the user's password, it calls
// [Manager.Reauthenticated] and redirects to [Manager.Next].
//
// Default: the answer is 401.
func WithReauthenticationPage(path string) Option {
	checkPage("WithReauthenticationPage", path)
	return func(c *config) { c.reauthenticationPage = path }
}

// WithRemoteAddress sets the function that returns the address a request comes from, for
// [Event]. Behind a proxy, return the address that the proxy reports. A nil function
// panics.
//
// Default: [http.Request.RemoteAddr].
func WithRemoteAddress(remote func(r *http.Request) string) Option {
	if remote == nil {
		panic("sessionhttp: WithRemoteAddress: the function is nil")
	}
	return func(c *config) { c.remoteAddress = remote }
}

// WithSameSite sets the cookies' attribute SameSite. With Strict, the browser does not
// send the cookies when the user follows a link on another site: the user arrives logged
// out. Any mode other than Lax and Strict panics.
//
// Default: Lax.
func WithSameSite(mode http.SameSite) Option {
	if mode != http.SameSiteLaxMode && mode != http.SameSiteStrictMode {
		panic(fmt.Sprintf("sessionhttp: WithSameSite: mode %d is neither Lax nor Strict", mode))
	}
	return func(c *config) { c.sameSite = mode }
}

// WithTimeout sets how long each use of the database may take: a lookup, a change, the begin
// of a transaction, its commit. After that, the error is [sessioncache.ErrUnavailable], and a
// change may have happened or not. The limit does not include the functions that the
// application passes to [Manager.Tx], [Manager.Update] and the like, nor the wait for near
// caches. Zero or less panics.
//
// Default: 5 s.
//
// [sessioncache.ErrUnavailable]: https://pkg.go.dev/github.com/rhaptos/sessiondb/sessioncache#ErrUnavailable
func WithTimeout(d time.Duration) Option {
	if d <= 0 {
		panic(fmt.Sprintf("sessionhttp: WithTimeout: %s is not a positive duration", d))
	}
	return func(c *config) { c.timeout = d }
}

// WithVisitorLifetime sets how long a visitor's session lives at most ([Manager.Begin]), and
// its cookie. Anybody can start such sessions without a login, as many as they like, and each
// is a row of the table. Limit the rate of requests that call Begin in front of the service,
// or in it. Less than a microsecond panics.
//
// Default: 24 hours, or the cache's lifetime if that is shorter.
func WithVisitorLifetime(d time.Duration) Option {
	if d < time.Microsecond {
		panic(fmt.Sprintf("sessionhttp: WithVisitorLifetime: %s is shorter than a microsecond", d))
	}
	return func(c *config) { c.visitors = d }
}

// checkPage accepts only paths: a redirect must not lead to another host.
func checkPage(option, path string) {
	_, local := localPath(path)
	if _, err := url.Parse(path); err != nil || !local {
		panic(fmt.Sprintf("sessionhttp: %s: %q is not a path of this service", option, path))
	}
}
