// Package sessiondb is empty: it says where to go. This module keeps the login sessions of
// Go services in PostgreSQL.
//
//   - [github.com/rhaptos/sessiondb/sessioncache/sessionhttp] logs users in and out of a
//     net/http service: cookies, bearer tokens, a middleware.
//   - [github.com/rhaptos/sessiondb/sessioncache] keeps sessions, without HTTP.
//   - [github.com/rhaptos/sessiondb/sid] has the types of ids, handles and tokens.
//   - [github.com/rhaptos/sessiondb/schema] migrates the table. So does the command
//     sessionctl (cmd/sessionctl).
//   - [github.com/rhaptos/sessiondb/db] is the typed SQL itself, for who joins sessions with
//     tables of their own (docs/data-layer.md).
//   - [github.com/rhaptos/sessiondb/sessioncache/sessiontest] gives a test a PostgreSQL
//     database, and sessionhttp/sessionhttptest a logged-in request without one.
//
// README.md has a program to begin with.
package sessiondb
