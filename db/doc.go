// Package db is the typed SQL that sqlc generates from queries/ and schema/.
//
// Most programs should use package sessioncache instead: it decides when a session is
// live, compares secrets, retries, batches, and waits for near caches. A program that
// uses db beside it can join its own statements with these in one transaction, or read
// the table for a report. It must keep to the rules that the comments of the queries
// state, and call sessioncache's AwaitNearCaches after each change.
//
// The table, its columns and the names of the queries follow the module's version, as
// docs/upgrading.md says. The parameter and row structs may gain fields in any version.
// Every file here except this one is generated: change queries/ and run make generate.
package db
