// Package db is the typed SQL that sqlc generates from queries/ and schema/.
//
// Most programs should use package sessioncache instead: it decides when a session is
// live, compares secrets, retries, batches, and waits for near caches. A program that
// uses db beside it can join its own statements with these in one transaction, or read
// the table for a report. It must keep to the rules that the comments of the queries
// state, and call sessioncache's AwaitNearCaches after each change.
//
// Version 1 will promise nothing about this package: it follows the SQL, which may change
// in any version (docs/upgrading.md). Every file except this one is generated: change
// queries/ and run make generate.
package db
