// Package suite has the helpers that the tests of several packages share: for what a test
// needs of the database that package sessiontest gives it, for what it does there, to wait,
// and to read a log.
package suite

import (
	"context"
	"os"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/rhaptos/sessiondb/sessioncache/sessiontest"

	// For the tests of every package that imports this one.
	_ "github.com/rhaptos/sessiondb/sessioncache/sessiontest/docker"
)

// Need is what a test needs of its database.
type Need int

const (
	// OwnTable is a table that no other test uses. Behind PgBouncer all share one.
	OwnTable Need = iota
	// OwnDatabase is a database that no other test uses, with the table in its schema
	// public. On the server of SESSIONCACHE_DATABASE_URL a test has a schema, or shares one.
	OwnDatabase
	// Undistributed is a table that is on one server as a whole. One that Citus has
	// distributed has no triggers, refuses some statements and has a clock on each node.
	Undistributed
)

// Require skips a test where its database lacks what it needs, and says why. On a server
// that the tests have started it skips none, unless SESSIONCACHE_TEST_AFTER_MIGRATE has
// distributed the table.
func Require(t *testing.T, needs ...Need) {
	t.Helper()
	for _, need := range needs {
		if why := lack(t, need); why != "" {
			t.Skip(why)
		}
	}
}

// Has reports whether a test has what it needs of its database.
func Has(t *testing.T, need Need) bool {
	t.Helper()
	return lack(t, need) == ""
}

// lack says why a need is not met. It is empty if it is.
func lack(t *testing.T, need Need) (why string) {
	t.Helper()
	lacks, err := lacking()
	if err != nil {
		t.Fatal(err)
	}
	return lacks[need]
}

// lacking says what the databases of tests lack, and why. It looks at one of them, once a
// process.
var lacking = sync.OnceValues(func() (map[Need]string, error) {
	lacks := map[Need]string{}
	external := os.Getenv("SESSIONCACHE_DATABASE_URL") != ""
	if !external && os.Getenv("SESSIONCACHE_TEST_AFTER_MIGRATE") == "" {
		return lacks, nil // an ordinary run
	}
	ctx := context.Background()
	server, err := sessiontest.Shared()
	if err != nil {
		return nil, err
	}
	database, err := server.NewDatabase(ctx)
	if err != nil {
		return nil, err
	}
	distributed, err := isDistributed(ctx, database.URL)
	if err != nil {
		return nil, err
	}
	if database.Shared {
		lacks[OwnTable] = "all tests share one table here"
	}
	if external {
		lacks[OwnDatabase] = "tests have no database of their own here"
	}
	if distributed {
		lacks[Undistributed] = "session_cache is distributed here"
	}
	return lacks, database.Drop(ctx)
})

// isDistributed asks Citus, if it is there.
func isDistributed(ctx context.Context, url string) (distributed bool, err error) {
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		return false, err
	}
	defer conn.Close(ctx)
	var citus bool
	if err := conn.QueryRow(ctx, "SELECT to_regclass('pg_catalog.pg_dist_partition') IS NOT NULL").Scan(&citus); err != nil || !citus {
		return false, err
	}
	err = conn.QueryRow(ctx, "SELECT EXISTS (SELECT FROM pg_catalog.pg_dist_partition WHERE logicalrelid = 'session_cache'::regclass)").Scan(&distributed)
	return distributed, err
}
