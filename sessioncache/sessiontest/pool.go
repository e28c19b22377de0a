package sessiontest

import (
	"context"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5/pgxpool"
)

// shared starts the server that [Shared] returns.
var shared = sync.OnceValues(func() (*Server, error) {
	return Start(context.Background())
})

// Shared returns the server that all tests of a process share. The first call starts it.
// It ends with the process; do not close it.
func Shared() (*Server, error) {
	return shared()
}

// NewPool returns a pool on a new database ([Server.NewDatabase]). Both are removed when
// the test ends. The pool has pgxpool's default settings, unless the configure functions
// change them.
//
// If there is no server, the test fails and says what to install.
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

// NewDatabase returns a new database, for a test that makes its own connections. It is
// removed when the test ends.
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
