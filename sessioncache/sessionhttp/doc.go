// Package sessionhttp gives a net/http service its logins: cookies, a middleware
// and the calls that log in and out, on a [sessioncache.Cache].
//
//	sessions := sessionhttp.New(cache, sessionhttp.WithLoginPage("/login"))
//	mux.Handle("GET /account", sessions.Require(account))
//	http.ListenAndServe(addr, sessions.Middleware(mux))
//
// It works with every router, and is right by default: what OWASP's ASVS 5.0 and
// Session Management Cheat Sheet ask of a session is the table in docs/security.md,
// with the test of each.
//
// # The cookies
//
// The session cookie, __Host-session, holds a token: its handle names the session, and
// its secret, 256 random bits, proves the right to open it. The database holds a digest of them: from the table, a
// backup or a log nobody gets to a token. The cookie is Secure, HttpOnly and
// SameSite=Lax, for this host alone. It is persistent, and lasts as long as the session
// may ([WithBrowserSessionCookie] and [Remember] change that); but whether a session is
// live is for the database to say, not for the cookie.
//
// The profile cookie, __Host-profile, is there with [WithProfile]. It holds a few
// details for the page's scripts to show. Nobody signs it, and nothing on the
// server reads it.
//
// # What a request knows
//
// Nothing is looked up before a handler asks ([Manager.User] or [Manager.Require]);
// then it is looked up once for all who ask within a second. A page that never asks
// never reaches the database. A request changes its session by its token: a token
// that has been replaced changes nothing, but for Logout.
//
// # When nobody knows
//
// When the database does not answer, nobody knows whether there is a session: the error
// is [sessioncache.ErrUnavailable]. When another request has just renewed the token it
// is [sessioncache.ErrSuperseded]. Both are answered 503, and no cookie is touched:
// asked again a little later, everybody is still logged in.
//
// # Cross-site requests
//
// [Manager.Middleware] refuses requests that change something and that another site has
// had the browser send ([http.CrossOriginProtection]). Change nothing on a GET.
package sessionhttp
