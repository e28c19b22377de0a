// Package sessionhttp adds logins to a net/http service that keeps its sessions in a
// [sessioncache.Cache]: cookies, a middleware, and calls that log in and out.
//
//	sessions := sessionhttp.New(cache, sessionhttp.WithLoginPage("/login"))
//	mux.Handle("GET /account", sessions.Require(account))
//	http.ListenAndServe(addr, sessions.Middleware(mux))
//
// It works with every router. Its defaults follow OWASP's ASVS 5.0 and Session Management
// Cheat Sheet. docs/security.md lists each rule with its test.
//
// # The cookies
//
// The session cookie, __Host-session, holds a token. The token's handle names the
// session, and its secret, of which 240 bits are random, opens it. The database holds a digest instead
// of the secret: the table, its backups and logs reveal no token. The cookie is Secure,
// HttpOnly and SameSite=Lax, and for this host only. It is persistent and lasts as long
// as the session can live ([WithBrowserSessionCookie] and [Remember] change that). The
// database decides whether a session is live, not the cookie.
//
// Browsers drop a Secure cookie that comes over plain HTTP, except from localhost: the user
// logs in, and finds the login page again. If that seems to happen, a warning is logged, once
// a process. A proxy that ends TLS must send X-Forwarded-Proto: https to prevent the warning.
//
// The profile cookie, __Host-profile, exists only with [WithProfile]. It holds a few
// details that scripts on the page can show. It is not signed, and nothing on the server
// reads it.
//
// # Lookups
//
// A session is looked up when a handler first asks for it ([Manager.User] or
// [Manager.Require]). The result is shared by all calls of the request within one second.
// A page that does not ask for the session does not reach the database.
//
// The token in the request decides which session a call changes. A token that a renewal
// has replaced (a superseded token) changes nothing, except that Logout may end its session. If
// it is used more than ten seconds after the renewal, the session ends, because the token
// may be stolen.
//
// # No answer
//
// If the database does not answer within five seconds ([WithTimeout]), nothing is known
// about the session: the error is [sessioncache.ErrUnavailable]. If another request has just renewed the token, the error
// is [sessioncache.ErrSuperseded]. A lookup that fails like this is answered with 503, and
// no cookie is changed: the browser's next request may succeed. For a Login or Renew that
// fails, see there. A client that goes away meanwhile is no failure of the database
// ([Manager.Error]).
//
// # Cross-site requests
//
// [Manager.Middleware] refuses requests that other sites make a browser send, if their
// method may change something ([http.CrossOriginProtection]). GET is always allowed, so
// change nothing on a GET.
package sessionhttp
