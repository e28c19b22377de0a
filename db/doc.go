// Package db is the typed SQL of the table session_cache: sqlc generates it from queries/
// and schema/.
//
// It is for who joins sessions with tables of their own, or needs one statement in a
// transaction of their own. Everybody else uses package sessioncache, whose WithTx runs its
// calls in a transaction, too. docs/data-layer.md has an example with sqlc, goose and a
// foreign key.
//
//	session, err := db.New(tx).GetSession(ctx, db.GetSessionParams{SessionID: id})
//
// # What sessioncache would have checked
//
//   - Liveness: GetSession and GetSessions return expired sessions, too. A session is live
//     if ExpiresMicros is not before NowMicros.
//   - Secrets: a handle gives no access. Whoever decides by these calls whether a request is
//     logged in compares the digest of the token's secret (sid.Token.Digest) in constant
//     time, and gives no access to a superseded token.
//   - Users: sessioncache stores only JSON in which Go and the column user_id read the same
//     user, and never changes the user of a session.
//   - Waiting: after the commit of a change, call AwaitNearCaches of a sessioncache.Cache.
//   - Retries: nothing is repeated here.
//
// # Names and units
//
// A call has the name of its query, and its documentation is the comment there. Handles and
// the ids of plain sessions are both a sid.ID. An empty audience is that of a program
// without sessioncache.WithAudience.
//
// A field that ends in Micros has microseconds: since 1970-01-01 UTC for an instant, and 0
// for "never". A lifetime and a timeout go in as a time.Duration. Digests go in as bytes and
// come out in hex. A call for one row says what pgx.ErrNoRows means; a call that returns
// only a number returns how many rows it has changed.
//
// Own rows come first in a transaction, then LockUser, then calls that change sessions. In
// another order two transactions can deadlock.
//
// Version 1 will promise nothing about this package: it follows the SQL, which may change
// in any version (docs/upgrading.md). Every file except this one is generated: change
// queries/ and run make generate.
package db
