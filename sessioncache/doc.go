// Package sessioncache keeps the sessions of logged-in users in PostgreSQL.
//
// A session is a user, stored as JSON, that is live for an hour. All servers that
// share the database see the same sessions: a logout on one is a logout on all of
// them, at once.
//
//	cache := sessioncache.New[User](pool)
//	token, err := cache.Issue(ctx, user)
//	session, ok, err := cache.Authenticate(ctx, token)
//	err = cache.Revoke(ctx, token)
//
// # Two kinds of sessions
//
// A session with a token is opened by a [sid.Token]. Its [sid.Handle] names the session
// and opens nothing. Its secret proves the right to open the session; the table holds a
// digest of it. Calls go by token (Authenticate,
// UpdateSession, Renew, Revoke), by handle (Session, DeleteSession) or by user
// (UserSessions, DeleteUserSessions). A request should change its session by its token:
// one that has been replaced changes nothing, but for Revoke.
//
// A plain session is opened by its id, a UUID that the application makes ([sid.New])
// and uses once: Set, Get, Update, Delete. Set on an id that exists deletes that
// session and returns [ErrConflict], because it means an attack or a bug and cannot
// mean anything else.
//
// A session is live from its start to its end, both included, by the database's clock;
// the clocks of the application's servers play no part. That it is absent or has
// expired is not an error.
//
// # Batches
//
// On a pool, lookups and Sets that would have to wait for a connection share a
// statement. The statement uses the first caller's context values. If a hook of the
// pool reads a tenant from the context, use [WithoutBatching].
//
// A caller who finds a free slot runs its own statement. The others queue, and when a
// slot comes free one statement answers all who wait. How many statements are under way
// does not depend on the size of the pool: near the server it is one more than there are
// CPUs for each kind, and four at most. Far away, or while statements wait for locks, it is MaxConns less
// one for both kinds. The end of one caller's context, or a user that PostgreSQL rejects,
// affects only that caller. There is nothing to start, to tune or to close.
//
// # Errors
//
// Every error matches exactly one of the package's Err variables, but for those of your
// own functions (Update, UpdateSession, Tx), which are returned as they are. [ErrUnavailable] says
// that nothing is known: a service answers 503 to it, and does not take the user for
// logged out.
//
// The table comes from package schema, its typed queries are package db.
package sessioncache
