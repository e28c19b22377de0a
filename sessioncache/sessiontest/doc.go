// Package sessiontest provides a throwaway PostgreSQL and fake users. It is for tests and
// examples of programs that use package sessioncache.
//
// In a test, one line returns a pool on a migrated database that only this test uses:
//
//	func TestLogin(t *testing.T) {
//		t.Parallel()
//		cache := sessioncache.New[sessiontest.User](sessiontest.NewPool(t))
//		…
//	}
//
// A test of a whole service by HTTP serves it with [net/http/httptest.NewTLSServer] and gives
// the server's client a [net/http/cookiejar.Jar]: over plain HTTP the jar would not send the
// Secure cookies of sessionhttp.
//
// In a program, [Start] returns a server and [Server.NewDatabase] a database.
//
// # Which server
//
// [Start] uses the first of these that it finds:
//
//  1. The server in the environment variable SESSIONCACHE_DATABASE_URL. Each test
//     then gets its own schema. Behind a pooler that does not pass search_path on,
//     all tests share one table (see [Database]).
//  2. PostgreSQL's server binaries on this machine: those in PATH, or else the
//     highest version of Debian's or Homebrew's packages (not on Windows). They run
//     a cluster in a temporary folder, on a private Unix socket, without fsync. If
//     this process is root, they run as the user postgres. The cluster is removed
//     when the process ends, even if it is killed.
//  3. Docker, if package sessiontest/docker is imported, with the image in the
//     environment variable SESSIONCACHE_TEST_IMAGE, or else postgres:18-alpine. The
//     container is also removed when the process ends.
//
// If there is none of them, the error is [ErrNoServer], which says what to install and
// how to use Docker.
//
// After the migrations, the SQL statement in the environment variable
// SESSIONCACHE_TEST_AFTER_MIGRATE is executed, for example to distribute the table:
// the same tests then check a distributed table.
package sessiontest
