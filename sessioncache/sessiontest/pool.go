package sessiontest

import (
	"context"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5/pgxpool"
)

// shared starts the server of [Shared].
var shared = sync.OnceValues(func() (*Server, error) {
	return Start(context.Background())
})

// Shared returns the server that all tests of a process share, which the first
// call starts. Nobody closes it: it ends with the process.
func Shared() (*Server, error) {
	return shared()
}

// NewPool returns a pool on a database that [Server.NewDatabase] makes for this
// test; both are gone when the test is over. The pool is as pgxpool makes it by
// default, but for what the configure functions change.
//
// Without a server the test fails and says what to install.
func NewPool(tb testing.TB, configure ...func(*pgxpool.Config)) *pgxpool.Pool {
	tb.Helper()
	config, err := pgxpool.ParseConfig(NewDatabase(tb).URL)
	if err != nil {
		tb.Fatal(err)
	}
	for _, change := range configure {
		change(config)
	}
	pool, err := pgxpool.NewWithConfig(tb.Context(), config)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(pool.Close)
	return pool
}

// NewDatabase returns a database that is dropped when the test is over, for a
// test that wants to connect in its own way.
func NewDatabase(tb testing.TB) *Database {
	tb.Helper()
	server, err := Shared()
	if err != nil {
		tb.Fatal(err)
	}
	database, err := server.NewDatabase(tb.Context())
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		// tb's own context has ended by now.
		if err := database.Drop(context.Background()); err != nil {
			tb.Error(err)
		}
	})
	return database
}
