// Package sessionhttp gives a net/http service its logins: cookies, a middleware
// and the calls that log in and out, on a [sessioncache.Cache].
//
//	sessions := sessionhttp.New(cache)
//	mux.Handle("GET /account", sessions.Require(account, toLogin))
//	http.ListenAndServe(addr, http.NewCrossOriginProtection().Handler(sessions.Middleware(mux)))
//
// It works with every router, and is right by default: what OWASP's Session
// Management Cheat Sheet and ASVS 5.0 ask of a session is the table in
// docs/security.md, with the test of each.
//
// # The two cookies
//
// The session cookie, __Host-session, holds a token of 256 random bits and nothing
// else. The database knows a session by the first 128 bits of the token's SHA-256:
// from the table, a backup or a log nobody gets to a token. The cookie is Secure,
// HttpOnly and SameSite=Lax, for this host alone. It lasts beyond the browser's
// window, as long as the session may ([WithBrowserSessionCookie] changes that); but
// whether a session is live is for the database to say, not for the cookie.
//
// The profile cookie, __Host-profile, is there with [WithProfile]. It holds a few
// details for the page's scripts to show. Nobody signs it, and nothing on the
// server reads it.
//
// # What a request knows
//
// Nothing is looked up before a handler asks ([Manager.User] or
// [Manager.Require]); then it is looked up once, for all who ask in that request.
// A page that never asks never reaches the database.
//
// # When the database does not answer
//
// Then nobody knows whether there is a session. [Manager.User] returns
// [sessioncache.ErrUnavailable], [Manager.Require] answers 503, and no cookie is
// cleared: when the database is back, everybody is still logged in.
//
// # Cross-site requests
//
// SameSite=Lax keeps the cookie off other sites' forms, but not off those of
// sister hosts. Wrap the service in [http.CrossOriginProtection], and change
// nothing on a GET.
package sessionhttp
