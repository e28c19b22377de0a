// Package sessiontest provides a throwaway PostgreSQL and fake users, for tests
// and examples of programs that keep their sessions in package sessioncache.
//
// In a test, one line gives a pool on a migrated database of the test's own:
//
//	func TestLogin(t *testing.T) {
//		t.Parallel()
//		cache := sessioncache.New[sessioncache.User](sessiontest.NewPool(t))
//		…
//	}
//
// In a program, [Start] gives the server and [Server.NewDatabase] a database.
//
// # Which server
//
// The first of these that there is:
//
//  1. The server that the environment variable SESSIONCACHE_DATABASE_URL names.
//     Tests then take a schema each, or, behind a pooler that does not pass
//     search_path on, share the table: see [Shared].
//  2. PostgreSQL's server binaries on this machine, in PATH or else the highest
//     version of Debian's or Homebrew's packages; not on Windows. They run a
//     cluster of their own in a temporary folder, on a private Unix socket,
//     without fsync, as the user postgres if this process is root. The cluster is
//     gone when the process is, however it ends.
//  3. Docker, with the image postgres:18-alpine or the one that the environment
//     variable SESSIONCACHE_TEST_IMAGE names. The container, too, is gone when the
//     process is.
//
// After the migrations it runs what SESSIONCACHE_TEST_AFTER_MIGRATE holds, a
// statement that distributes the table for one: so the tests are the conformance
// tests of whatever that makes of it.
//
// With none of them, [Start] returns [ErrNoServer], which says what to install.
package sessiontest
