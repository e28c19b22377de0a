// Package sessioncache keeps the sessions of logged-in users in PostgreSQL.
//
// A session is a user, stored as JSON, that is live for an hour. All servers that
// share the database see the same sessions: a logout on one server is a logout on
// all of them.
//
//	cache := sessioncache.New[Account](pool)
//	token, err := cache.Issue(ctx, account)
//	session, ok, err := cache.Authenticate(ctx, token)
//	err = cache.Revoke(ctx, token)
//
// Package schema migrates the table. Package sessionhttp adds cookies and a middleware
// for net/http. Package sessiontest gives a test a PostgreSQL database.
//
// # Two kinds of sessions
//
// The first kind of session is opened by a [sid.Token], which has two parts, a handle and
// a secret. The [sid.Handle] names the session and gives no access. The secret opens it; the
// table holds only its digest. Some calls take the token (Authenticate, UpdateSession,
// Renew, Revoke, RevokeOthers, RevokeAll, RevokeSession), some the handle (Session,
// DeleteSession), some the user (UserSessions, DeleteUserSessions). A request does what it
// does by its token: a token that Renew has replaced (a superseded token) changes nothing of
// the user. Its use may end the session (see [Cache.Authenticate] and [Cache.Revoke]).
//
// The second kind, a plain session, is opened by its id, a UUID that the application makes
// ([sid.New]) and uses once: Set, Get, Update, Delete. Set of the id of a plain session
// deletes that session and returns [ErrConflict], because a second use is an attack or a
// bug.
//
// A session is live from its start to its end, both included. Only the database's
// clock counts. An absent or expired session is not an error.
//
// # Updates
//
// Update and UpdateSession read the user, call a function with it, and store the result if
// no other change came first. Otherwise they begin again. No connection and no lock is held
// while the function runs, and it may be called several times.
//
// # The user's id
//
// The calls about a user go by user_id at the top level of the user's JSON: a string or an
// integer. What Go and PostgreSQL would read differently is [ErrInvalidUser]. A session never
// changes its user ([ErrUserChanged]).
//
// # Transactions
//
// [Cache.WithTx] runs calls in a transaction of yours, [Cache.Tx] begins one. In it, your own
// rows come first, then calls about a user, then calls that change one session. In another
// order two transactions can deadlock.
//
// # Batches
//
// On a pool, lookups and insertions (Set and Issue) share statements when many arrive at
// once. A call that finds a free slot runs its own statement. The other calls queue, lookups
// and insertions apart. When a slot comes free, one statement answers all calls of a queue.
// There is nothing to start, to tune or to close.
//
// A slot is a statement under way. Both kinds together have MaxConns-1 slots. Each
// kind uses three of them at once, and one more whenever its youngest statement
// was sent two milliseconds ago. Therefore quick statements make large batches, and
// statements that wait for the network or for a lock do not hold up the others. A few
// connections are enough on a fast network. Over one that takes milliseconds, more help.
//
// Each call has its own result: the end of one caller's context, or a user that
// PostgreSQL rejects, affects only that caller. A shared statement runs under the
// context values of its first caller. If a hook of the pool reads a tenant from the
// context, use [WithoutBatching].
//
// # Near cache
//
// With [WithNearCache] hot lookups are answered from memory. When a call that ends or changes
// a session has returned nil, outside a transaction of your own, no near cache on any server
// shows the old state any more. For this, such a call takes [NearCacheStaleness] longer. (Issue
// and Retire do not wait: see there.)
//
// # Errors
//
// Every error matches exactly one of the package's Err variables ([ErrUserTooLarge] is an
// [ErrInvalidUser], too), except errors of your own functions (Update, UpdateSession, Tx,
// Carry), which are returned as they are. [ErrUnavailable] says that nothing is known about
// the session: answer 503, never "please log in".
package sessioncache
