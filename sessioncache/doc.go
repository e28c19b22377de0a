// Package sessioncache keeps the sessions of logged-in users in PostgreSQL.
//
// A session is a user, stored as JSON under a UUID, that is live for an hour. All
// servers that share the database see the same sessions: a logout on one is a
// logout on all of them, at once.
//
//	cache := sessioncache.New[User](pool)
//	err := cache.Set(ctx, id, user)
//	user, ok, err := cache.Get(ctx, id)
//	err = cache.Delete(ctx, id)
//
// # What a session is
//
// Its id is a UUID that the application makes ([sid.New]) and uses once. Set on an
// id that exists deletes that session and returns [ErrConflict], because it means
// an attack or a bug and cannot mean anything else.
//
// It is live between its two times, both included, by the database's clock; the
// clocks of the application's servers play no part. Whether a session is absent or
// has expired cannot be told from outside, and is not an error.
//
// # Callers who ride together
//
// On a pool, Gets and Sets of callers who would have to wait for a connection
// share a statement: a caller who finds a free slot (MaxConns less one) runs its
// own, the others queue, and whoever waits when a slot comes free rides on it
// together. The end of one caller's context, or a user that PostgreSQL rejects,
// is nobody else's. There is nothing to start, to tune or to close.
//
// # Errors
//
// Every error is one of [ErrMalformedID], [ErrConflict], [ErrInvalidUser] and
// [ErrUnavailable]. The last one says that nothing is known: a service answers 503
// to it, and does not take the user for logged out.
//
// # Ids are secrets
//
// Whoever knows a session's id has the session. No error and no log line of this
// package shows one; logs carry [sid.ID.Fingerprint].
//
// The table comes from package schema, its typed queries are package db.
package sessioncache
