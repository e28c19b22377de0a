package sessionhttp

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"time"
)

// Option changes how a [Manager] behaves.
type Option func(*config)

type config struct {
	sessionCookie, profileCookie string // in New with their prefix

	domain         string
	sameSite       http.SameSite
	insecure       bool
	browserSession bool
	bearer         bool
	profile        any // a func(T) any

	loginPage, reauthenticationPage string

	lookupTimeout time.Duration
	protection    *http.CrossOriginProtection
	remote        func(*http.Request) string
	events        func(context.Context, Event)
	logger        *slog.Logger // nil: events are not logged, failures by slog.Default
	fail          func(http.ResponseWriter, *http.Request, error)
}

func newConfig(options []Option) config {
	c := config{
		sessionCookie: "session",
		profileCookie: "profile",
		sameSite:      http.SameSiteLaxMode,
		lookupTimeout: 5 * time.Second,
		protection:    http.NewCrossOriginProtection(),
		remote:        func(r *http.Request) string { return r.RemoteAddr },
		events:        func(context.Context, Event) {},
	}
	for _, option := range options {
		option(&c)
	}
	// RFC 6265bis section 4.1.3: browsers take a cookie with the prefix __Host- only if
	// it is Secure, of no domain and for all paths, so that no sister host can plant
	// one; and one with __Secure- only if it is Secure.
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

// WithBearer lets programs log in with "Authorization: Bearer" and a token of
// [Manager.IssueBearer] (RFC 6750). Where a request has that header it decides alone:
// a bad token is refused whatever the cookies say. Such requests need no protection
// against other sites, which cannot send the header.
//
// Default: the header is ignored.
func WithBearer() Option {
	return func(c *config) { c.bearer = true }
}

// WithBrowserSessionCookie makes cookies that end with the browser's session
// instead of with the login, but for a login that is to be remembered ([Remember]).
// (A browser that brings back its windows brings back these, too.)
//
// Default: persistent cookies, which last as long as the login may.
func WithBrowserSessionCookie() Option {
	return func(c *config) { c.browserSession = true }
}

// WithCookieName names the session cookie, without its prefix, which is put before
// it; the profile cookie is named after it with -profile. Two services on one host
// need names of their own. A name that RFC 6265 does not allow, or longer than 64
// bytes, panics.
//
// Default: session, and profile.
func WithCookieName(name string) Option {
	cookie := http.Cookie{Name: name}
	if cookie.Valid() != nil || len(name) > 64 || strings.HasPrefix(name, "__") {
		panic(fmt.Sprintf("sessionhttp: WithCookieName: %q is not the name of a cookie", name))
	}
	return func(c *config) { c.sessionCookie, c.profileCookie = name, name+"-profile" }
}

// WithCrossOriginProtection replaces the protection against requests that other sites
// have a browser send, for example to trust an origin. A nil protection panics.
//
// Default: [http.NewCrossOriginProtection].
func WithCrossOriginProtection(protection *http.CrossOriginProtection) Option {
	if protection == nil {
		panic("sessionhttp: WithCrossOriginProtection: the protection is nil")
	}
	return func(c *config) { c.protection = protection }
}

// WithDomain sends the cookies to all hosts of a domain, so that one login counts on
// all of them. The price: the prefix is __Secure- instead of __Host-, and every host
// of the domain sees the token and can plant one of its own. A domain that RFC 6265
// does not allow panics.
//
// Default: this host alone.
func WithDomain(domain string) Option {
	cookie := http.Cookie{Name: "n", Domain: domain}
	if domain == "" || cookie.Valid() != nil {
		panic(fmt.Sprintf("sessionhttp: WithDomain: %q is not the domain of a cookie", domain))
	}
	return func(c *config) { c.domain = domain }
}

// WithErrorHandler sets how [Manager.Error], [Manager.Require] and
// [Manager.RequireFresh] answer requests that failed, after the redirects to the login
// and the re-authentication page. A handler must not take
// [sessioncache.ErrUnavailable] for "logged out". A nil handler panics.
//
// Default: 503 for [sessioncache.ErrUnavailable], [sessioncache.ErrSuperseded] and
// [sessioncache.ErrNotAwaited], 401 for [ErrNoSession] and [ErrNotFresh], 404 for
// [ErrUnknownHandle], else 500. What is neither 401 nor 404 is logged.
//
// [sessioncache.ErrNotAwaited]: https://pkg.go.dev/github.com/rhaptos/sessiondb/sessioncache#ErrNotAwaited
// [sessioncache.ErrUnavailable]: https://pkg.go.dev/github.com/rhaptos/sessiondb/sessioncache#ErrUnavailable
// [sessioncache.ErrSuperseded]: https://pkg.go.dev/github.com/rhaptos/sessiondb/sessioncache#ErrSuperseded
func WithErrorHandler(handler func(w http.ResponseWriter, r *http.Request, err error)) Option {
	if handler == nil {
		panic("sessionhttp: WithErrorHandler: the handler is nil")
	}
	return func(c *config) { c.fail = handler }
}

// WithEvents has what happens to sessions reported, for an audit log. The function is
// called by the request that it is about, before that is answered. It must not call
// the Manager. A nil function panics.
//
// Default: events are reported to the logger only.
func WithEvents(report func(ctx context.Context, event Event)) Option {
	if report == nil {
		panic("sessionhttp: WithEvents: the function is nil")
	}
	return func(c *config) { c.events = report }
}

// WithInsecureCookies makes cookies that travel over plain HTTP, without Secure
// and a prefix: whoever listens on the way is logged in. It is for development with a
// browser that does not take http://localhost for secure, as Chrome and Firefox do,
// and for nothing else.
func WithInsecureCookies() Option {
	return func(c *config) { c.insecure = true }
}

// WithLogger sets where events are logged, at level Info, or Warn for what no honest
// browser sends, and failed requests at level Error. A session is logged as its
// handle, a token not at all. A nil logger panics.
//
// Default: events are not logged, failed requests by [slog.Default].
func WithLogger(logger *slog.Logger) Option {
	if logger == nil {
		panic("sessionhttp: WithLogger: the logger is nil")
	}
	return func(c *config) { c.logger = logger }
}

// WithLoginPage sets where a browser that navigates to a page without the login that
// it needs is redirected to: a path of this service, such as /login.
//
// Default: it is answered 401.
func WithLoginPage(path string) Option {
	checkPage("WithLoginPage", path)
	return func(c *config) { c.loginPage = path }
}

// WithLookupTimeout sets how long a lookup of a request's session may take; then the
// answer is [sessioncache.ErrUnavailable]. Zero or less panics.
//
// Default: 5 s.
//
// [sessioncache.ErrUnavailable]: https://pkg.go.dev/github.com/rhaptos/sessiondb/sessioncache#ErrUnavailable
func WithLookupTimeout(d time.Duration) Option {
	if d <= 0 {
		panic(fmt.Sprintf("sessionhttp: WithLookupTimeout: %s is no time", d))
	}
	return func(c *config) { c.lookupTimeout = d }
}

// WithProfile makes a second cookie, for the page's scripts to read: choose
// returns what they may see of a user, which is stored as JSON:
//
//	JSON.parse(decodeURIComponent(value))
//
// It comes and goes with the session cookie of a login. Anybody can change what is in
// it, so nothing on the server reads it. A profile whose cookie would be longer than
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

// WithReauthenticationPage sets where a browser is redirected to whose login is too
// old for the page that it navigates to ([Manager.RequireFresh]): a path of this
// service where the user proves again who they are.
//
// Default: it is answered 401.
func WithReauthenticationPage(path string) Option {
	checkPage("WithReauthenticationPage", path)
	return func(c *config) { c.reauthenticationPage = path }
}

// WithRemoteAddress sets how to tell where a request comes from, for [Event]: behind
// a proxy, what the proxy says. A nil function panics.
//
// Default: [http.Request.RemoteAddr].
func WithRemoteAddress(remote func(r *http.Request) string) Option {
	if remote == nil {
		panic("sessionhttp: WithRemoteAddress: the function is nil")
	}
	return func(c *config) { c.remote = remote }
}

// WithSameSite sets on which requests from other sites a browser sends the cookies.
// Strict keeps them off links from other sites, too: whoever follows one arrives
// logged out. Any other mode than Lax and Strict panics.
//
// Default: Lax.
func WithSameSite(mode http.SameSite) Option {
	if mode != http.SameSiteLaxMode && mode != http.SameSiteStrictMode {
		panic(fmt.Sprintf("sessionhttp: WithSameSite: mode %d", mode))
	}
	return func(c *config) { c.sameSite = mode }
}

// checkPage takes paths only: a redirect must not lead to another host.
func checkPage(option, path string) {
	if !strings.HasPrefix(path, "/") || strings.HasPrefix(path, "//") || strings.HasPrefix(path, `/\`) {
		panic(fmt.Sprintf("sessionhttp: %s: %q is not a path of this service", option, path))
	}
}
